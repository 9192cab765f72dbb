"""Commands that answer: predict, video, serve and demo."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from threeages.cli.models import find_model, open_predictor
from threeages.cli.options import Coverage, MaxError, ModelName, NoDetect, OutFolder
from threeages.cli.output import print_evaluation, print_records, print_rows, say_on_stderr, show_log, watch


def predict(
    sources: Annotated[list[str], typer.Argument(help="Files, folders, globs, or '-' for a list on stdin.")],
    model: ModelName = "default",
    no_detect: NoDetect = False,
    max_error: MaxError = None,
    coverage: Coverage = None,
    together: Annotated[
        bool, typer.Option("--together", help="The images show one person: answer all together too, last.")
    ] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a face.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="One csv row a face.")] = False,
) -> None:
    """Answer the age group of every face; exit code 1 when an image could not be read."""
    from threeages.cli.inputs import expand_sources
    from threeages.inference.writers import write_records

    predictor = open_predictor(model, no_detect, max_error, coverage)
    paths = expand_sources(sources, sys.stdin)
    failed = 0

    def records() -> Any:
        nonlocal failed
        answer = predictor.predict_together if together else predictor.predict
        for record in answer(watch(paths)):
            failed += record.failed
            yield record

    if jsonl or csv:
        write_records(records(), sys.stdout, "jsonl" if jsonl else "csv")
    else:
        print_records(records())
    if failed:
        typer.echo(f"{failed} of {len(paths)} images could not be read.", err=True)
        raise typer.Exit(1)


def video(
    source: Annotated[str, typer.Argument(help="A video file, or a camera's number such as 0.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Annotated video to write (.mp4 or .avi).")
    ] = None,
    model: ModelName = "default",
    max_error: MaxError = None,
    coverage: Coverage = None,
    seconds: Annotated[float, typer.Option(help="Stop after so many; a camera also stops at Ctrl-C.")] = 1e9,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a face and frame.")] = False,
) -> None:
    """Follow the faces of a video and answer each, smoothed over its frames."""
    import json
    import signal
    from itertools import takewhile

    from threeages.inference.video import Video, open_video, summarize_tracks, track_faces

    stopped = False

    def stop(*_: Any) -> None:  # so that what was written up to here is kept
        nonlocal stopped
        stopped = True

    opened = open_video(source)
    predictor = open_predictor(model, False, max_error, coverage)
    frames = takewhile(lambda frame: not stopped and frame.seconds < seconds, opened.frames)
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
        str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    model: ModelName = "default",
    max_error: MaxError = None,
    coverage: Coverage = None,
    workers: Annotated[int | None, typer.Option(help="Decoding processes; one a core by default.")] = None,
    api_keys: Annotated[
        Path | None, typer.Option(help="File of API keys, one a line; also THREEAGES_API_KEYS, by commas.")
    ] = None,
    rate_limit: Annotated[int | None, typer.Option(help="Requests a minute and client.")] = None,
    max_body_mb: Annotated[int, typer.Option(help="Largest body of a request, MiB.")] = 32,
    max_images: Annotated[int, typer.Option(help="Most images in a request.")] = 32,
    max_megapixels: Annotated[int, typer.Option(help="Largest image.")] = 50,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Host name to answer to; loopback names by default on loopback.")
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option(help="Origin whose pages may call, such as https://a.example.")
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None, typer.Option(help="Address of a proxy whose X-Forwarded-For is believed.")
    ] = None,
) -> None:
    """Serve the model and a page over HTTP; ^C or SIGTERM ends it when every request is answered."""
    from threeages.server.run import create_settings
    from threeages.server.run import serve as run_server

    settings = create_settings(
        host=host, max_error=max_error, coverage=coverage, workers=workers, key_file=api_keys,
        rate_limit=rate_limit, max_body_mb=max_body_mb, max_images=max_images,
        max_megapixels=max_megapixels, allowed_hosts=allow_host, cors_origins=cors,
    )  # fmt: skip
    proxies = tuple(trusted_proxy or ())
    run_server(find_model(model), settings, host=host, port=port, trusted_proxies=proxies, say=say_on_stderr)


def demo(out: OutFolder = Path("runs/demo")) -> None:
    """Predict on two portraits, train a small model in under a minute and write its report."""
    from threeages.demo import predict_portraits, train_on_faces

    show_log()
    typer.echo("The default model on two portraits:")
    print_records(predict_portraits())
    run = train_on_faces(out)
    print_evaluation(run.evaluation, run.folder)
    typer.echo(f"These are held-out identities of {run.faces}. The report with its pictures: {run.report}")
    typer.echo("Try your own photos: run 'threeages serve' and open http://127.0.0.1:8000 in a browser.")
