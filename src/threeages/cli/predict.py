"""Commands that use a model: predict, video, serve and demo."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from threeages.cli.models import find_model, open_predictor
from threeages.cli.options import Coverage, DeviceName, MaxError, ModelName, NoDetect, OutFolder
from threeages.cli.output import print_evaluation, print_records, print_rows, start_training, watch


def predict(
    sources: Annotated[
        list[str], typer.Argument(help="Image files, folders, globs, or '-' for a list of paths on stdin.")
    ],
    model: ModelName = "default",
    no_detect: NoDetect = False,
    max_error: MaxError = None,
    coverage: Coverage = None,
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
) -> None:
    """Predict the age group of every face; exit code 1 where an image cannot be read."""
    from threeages.cli.inputs import expand_sources
    from threeages.errors import ConfigError
    from threeages.inference.pictures import open_pictures, write_pictures
    from threeages.inference.writers import write_records

    if link and sort is None:
        raise ConfigError("--link was given without --sort.", hint="Add --sort FOLDER.")
    predictor = open_predictor(model, no_detect, max_error, coverage, device)
    paths = expand_sources(sources, sys.stdin)
    pictures = open_pictures(save, sort, link)
    failed = 0

    def records() -> Any:
        nonlocal failed
        run = predictor.predict_together if together else predictor.predict
        for record in write_pictures(run(watch(paths)), pictures):
            failed += record.failed
            yield record

    if jsonl or csv:
        write_records(records(), sys.stdout, "jsonl" if jsonl else "csv")
    else:
        print_records(records())
    for writer in pictures:
        typer.echo(writer.close(), err=True)
    if failed:
        typer.echo(f"{failed} of {len(paths)} images could not be read.", err=True)
        raise typer.Exit(1)


def video(
    source: Annotated[str, typer.Argument(help="A video file, or a camera's number such as 0.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write an annotated video to this file (.mp4 or .avi).")
    ] = None,
    model: ModelName = "default",
    max_error: MaxError = None,
    coverage: Coverage = None,
    device: DeviceName = "auto",
    seconds: Annotated[float | None, typer.Option(help="Stop after this time; Ctrl-C stops, too.")] = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Write one JSON object for each face of each frame.")
    ] = False,
) -> None:
    """Track the faces of a video and predict the age group of each, smoothed over its frames."""
    import json
    import signal
    from itertools import takewhile

    from threeages.inference.video import Video, open_video, summarize_tracks, track_faces

    stopped = False

    def stop(*_: Any) -> None:  # so that the file holds the frames up to here
        nonlocal stopped
        stopped = True

    opened = open_video(source)
    predictor = open_predictor(model, False, max_error, coverage, device)
    end = float("inf") if seconds is None else seconds
    frames = takewhile(lambda frame: not stopped and frame.seconds < end, opened.frames)
    before = signal.signal(signal.SIGINT, stop)
    try:
        faces = track_faces(Video(frames, opened.rate), predictor, name=source, out=out)
        if jsonl:
            for face in faces:
                typer.echo(json.dumps(face.to_dict(), ensure_ascii=False))
        else:
            print_rows(["track", "seconds", "frames", "age group", "confidence"], summarize_tracks(faces))
    finally:
        signal.signal(signal.SIGINT, before)


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
) -> None:
    """Serve the model and a page over HTTP; Ctrl-C or SIGTERM stops it after the last answer."""
    from threeages.server.run import create_settings
    from threeages.server.run import serve as run_server

    settings = create_settings(
        host=host, max_error=max_error, coverage=coverage, device=device, workers=workers, key_file=api_keys,
        rate_limit=rate_limit, max_body_mb=max_body_mb, max_images=max_images,
        max_megapixels=max_megapixels, allowed_hosts=allow_host, cors_origins=cors, keep_alive=keep_alive,
        root_path=root_path,
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
