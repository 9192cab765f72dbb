"""Commands that use a model: predict, video, serve and demo."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from threeages.cli.failures import WholeLines
from threeages.cli.models import find_model, open_predictor
from threeages.cli.options import (
    BracketYears,
    Coverage,
    DeviceName,
    MaxError,
    ModelName,
    NoDetect,
    OutFolder,
    RayAddress,
    check_engine,
    check_positive,
)
from threeages.cli.output import (
    print_evaluation,
    print_records,
    print_rows,
    print_unreadable,
    show_log,
    start_training,
    watch,
)
from threeages.cli.signals import hold_signals, keep_what_is_written, say_when_interrupted
from threeages.errors import format_count

if TYPE_CHECKING:
    from threeages.inference.video import TrackedFace


def predict(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders, globs; listings: .txt with a path a line, .csv, .jsonl; .tar and "
            ".parquet; any of these in a store, such as s3://bucket/folder; or '-' for a list of paths on "
            "stdin."
        ),
    ],
    model: ModelName = "default",
    no_detect: NoDetect = False,
    max_error: MaxError = None,
    coverage: Coverage = None,
    brackets: BracketYears = None,
    device: DeviceName = "auto",
    together: Annotated[
        bool,
        typer.Option(
            "--together", help="The images show the same person: add a last record for all of them together."
        ),
    ] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Write one JSON object for each face.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Write one csv row for each face.")] = False,
    save: Annotated[
        Path | None, typer.Option("--save", help="Folder for copies of the images with their faces drawn.")
    ] = None,
    sort: Annotated[
        Path | None,
        typer.Option("--sort", help="Folder to copy the images to, into one folder for each answer."),
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="With --sort: link the images, do not copy.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Write the records to this .jsonl or .csv file, or to this folder as parquet files."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="With --out: answer only the images that have no record there.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="With --out: only part I of N of the images."),
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="With --out: local, the cores of this machine, or ray, a cluster.")
    ] = "local",
    address: RayAddress = None,
    column: Annotated[
        str | None,
        typer.Option("--column", help="Column of a listing with the paths or images; path by default."),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            "--id-column", help="Column that names the images of a parquet; the row's number by default."
        ),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            "--root", help="Folder that paths in a listing are relative to; the current one by default."
        ),
    ] = None,
) -> None:
    """Predict the age group of every face; exit code 1 where an image cannot be read.

    With --jsonl or --csv the images of a list on stdin are answered as their lines come. With --out very many
    images are answered into a file or folder; --resume goes on there after an interruption.
    """
    from threeages.cli.bulk import describe_settings, open_cluster, write_answers
    from threeages.cli.inputs import expand_sources, show_passed_over
    from threeages.errors import ConfigError
    from threeages.inference.bulk.digests import Shard
    from threeages.inference.bulk.listings import ListingReader
    from threeages.inference.bulk.run import AnswerPlace
    from threeages.inference.pictures import open_pictures, write_pictures
    from threeages.inference.writers import write_records

    if jsonl and csv:
        raise ConfigError("--jsonl was given with --csv.", hint="Give one of them.")
    if link and sort is None:
        raise ConfigError("--link was given without --sort.", hint="Add --sort FOLDER.")
    on_ray = check_engine(engine, address, device)
    file = find_model(model)
    reader = ListingReader(column, id_column, root, by_part=on_ray)
    if out is not None:
        _refuse_with_out(jsonl=jsonl, csv=csv, together=together, save=save, sort=sort)
        place = AnswerPlace(out, Shard.parse(shard) if shard else Shard())
        predictor = open_predictor(str(file), no_detect, max_error, coverage, device, brackets)
        options = {
            "detect": not no_detect,
            "max_error": max_error,
            "coverage": coverage,
            "brackets": brackets,
        }
        settings = describe_settings(file, **options, kind=place.kind)
        cluster = open_cluster(file, address, **options) if on_ray else None
        write_answers(sources, predictor, place, settings, resume=resume, reader=reader, engine=cluster)
        return
    given = {"--resume": resume, "--shard": shard, "--engine": on_ray}
    if without := [name for name, value in given.items() if value]:
        raise ConfigError(
            f"{without[0]} was given without --out.",
            hint="Add --out FILE_OR_FOLDER, where the records are kept.",
        )
    predictor = open_predictor(str(file), no_detect, max_error, coverage, device, brackets)
    paths = expand_sources(sources, sys.stdin, reader=reader)
    pictures = open_pictures(save, sort, link)
    failed, read, written = 0, len(paths) if isinstance(paths, list) else 0, 0

    def count() -> Iterator[Any]:
        nonlocal read
        for path in paths:
            read += 1
            yield path

    def records() -> Any:
        nonlocal failed, written
        run = predictor.predict_together if together else predictor.predict
        found = run(watch(paths) if isinstance(paths, list) else count())
        for record in write_pictures(found, pictures):
            failed += record.failed
            with hold_signals():  # while the record is written
                yield record
                written += 1

    if jsonl or csv:
        say_when_interrupted(lambda: _count_written(written))
        kind, wanted = "jsonl" if jsonl else "csv", predictor.classifier.policy.brackets
        write_records(records(), WholeLines(sys.stdout), kind, wanted)
    else:
        print_records(records())
    for writer in pictures:
        typer.echo(writer.close(), err=True)
    show_passed_over(reader.passed_over)
    for problem in reader.problems:
        typer.echo(f"Error: {problem}", err=True)
    if print_unreadable(failed, read) or reader.problems:
        raise typer.Exit(1)


def _refuse_with_out(**options: object) -> None:
    """Raise ConfigError where --out was given with an option that belongs to what is printed."""
    from threeages.errors import ConfigError

    if given := [f"--{name}" for name, value in options.items() if value]:
        raise ConfigError(
            f"{given[0]} was given with --out.",
            hint="Leave it out: the name of --out says the format, and records are kept one image at a time.",
        )


def _count_written(number: int) -> str:
    """What follows "Interrupted." once `number` records are written."""
    records = "1 record is" if number == 1 else f"{number:,} records are"
    return f"{records} written and kept; the same command starts over."


def video(
    source: Annotated[
        str,
        typer.Argument(
            help="A video file, an address (rtsp://, http:// and others), a device such as /dev/video0, or a "
            "camera's number such as 0."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write an annotated video to this file (.mp4 or .avi).")
    ] = None,
    model: ModelName = "default",
    max_error: MaxError = None,
    coverage: Coverage = None,
    brackets: BracketYears = None,
    device: DeviceName = "auto",
    seconds: Annotated[
        float | None,
        typer.Option(callback=check_positive, help="Stop after this time; Ctrl-C stops, too."),
    ] = None,
    reconnects: Annotated[
        int, typer.Option(min=0, help="Tries in a row to open a lost camera or stream again.")
    ] = 5,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Write one JSON object for each face of each frame.")
    ] = False,
) -> None:
    """Track the faces of a video; exit code 1 where it ends early.

    Each face gets an age group, smoothed over the frames.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what a decoder meets is said in our own words
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    from threeages.inference.capture import hide_password, open_video
    from threeages.inference.video import track_faces

    show_log()
    end = float("inf") if seconds is None else seconds
    with keep_what_is_written() as stopped:
        predictor = open_predictor(model, False, max_error, coverage, device, brackets)
        opened = open_video(source, seconds=end, reconnects=reconnects, stopped=stopped)
        found = _write_tracks(track_faces(opened, predictor, name=hide_password(source), out=out), jsonl)
    if not found:
        typer.echo(f"No face was found in {format_count(opened.read, 'frame')}.", err=True)
    if opened.problem:
        typer.echo(opened.problem, err=True)
        raise typer.Exit(1)


def _write_tracks(faces: "Iterable[TrackedFace]", jsonl: bool) -> bool:
    """Write a line a face or a table of the tracks to stdout; False where there is no face."""
    import json

    from threeages.inference.video import summarize_tracks

    if not jsonl:
        header, rows = summarize_tracks(faces)
        if rows:
            print_rows(header, rows)
        return bool(rows)
    found = False
    out = WholeLines(sys.stdout)
    for face in faces:
        found = True
        out.write(json.dumps(face.to_dict(), ensure_ascii=False) + "\n")
        out.flush()
    return found


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 accepts requests from the network.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8000,
    model: ModelName = "default",
    max_error: MaxError = None,
    coverage: Coverage = None,
    brackets: BracketYears = None,
    device: DeviceName = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Processes that decode images; one for each core by default.")
    ] = None,
    api_keys: Annotated[
        Path | None,
        typer.Option(
            help="File of API keys, one a line. THREEAGES_API_KEYS holds more, separated by commas."
        ),
    ] = None,
    rate_limit: Annotated[
        int | None, typer.Option(help="Requests a minute for each client; no limit by default.")
    ] = None,
    max_body_mb: Annotated[int, typer.Option(help="Largest body of a request in MiB.")] = 32,
    max_images: Annotated[int, typer.Option(help="Most images in a request.")] = 32,
    max_megapixels: Annotated[int, typer.Option(help="Largest image in megapixels.")] = 50,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Host name to serve; by default loopback names on a loopback address, else all."),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(help="Origin whose pages may send requests, such as https://a.example."),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None, typer.Option(help="Address of a proxy whose X-Forwarded-For names the client.")
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="Sub-path behind a proxy, such as /faces; needed where the proxy keeps it.")
    ] = "",
    keep_alive: Annotated[
        float, typer.Option(help="Seconds that an idle connection stays open; give more than the proxy's.")
    ] = 75,
    reference: Annotated[
        Path | None,
        typer.Option(help="Json file of 'threeages thresholds --out': answers to watch for drift from."),
    ] = None,
) -> None:
    """Serve the model and a page over HTTP; Ctrl-C or SIGTERM stops it after the last answer."""
    from threeages.server.run import create_settings
    from threeages.server.run import serve as run_server

    settings = create_settings(
        host=host, max_error=max_error, coverage=coverage, device=device, workers=workers, key_file=api_keys,
        rate_limit=rate_limit, max_body_mb=max_body_mb, max_images=max_images,
        max_megapixels=max_megapixels, allowed_hosts=allow_host, cors_origins=cors, keep_alive=keep_alive,
        root_path=root_path, brackets=brackets, reference=reference,
    )  # fmt: skip
    proxies = tuple(trusted_proxy or ())
    run_server(find_model(model), settings, host=host, port=port, trusted_proxies=proxies)


def demo(out: OutFolder = Path("runs/demo")) -> None:
    """Predict on two portraits, train a small model in under a minute and write its report."""
    from threeages.demo import predict_portraits, train_on_faces

    start_training()
    typer.echo("The default model on two portraits:")
    print_records(predict_portraits())
    run = train_on_faces(out)
    print_evaluation(run.evaluation, run.folder)
    typer.echo(f"These are held-out identities of {run.faces}. The report with its pictures: {run.report}")
    typer.echo("Try your own photos: run 'threeages serve' and open http://127.0.0.1:8000 in a browser.")
