"""The command line: thin commands over the library; heavy parts are imported where they are used."""

import io
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from threeages.errors import MissingDependencyError, ThreeAgesError

if TYPE_CHECKING:
    from rich.console import Console

    from threeages.evaluation.evaluate import Evaluation
    from threeages.inference.predictor import Predictor
    from threeages.inference.records import Record

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
data_app = typer.Typer(no_args_is_help=True, help="Import, audit and split a data set.")
app.add_typer(data_app, name="data")

ManifestFile = Annotated[
    Path, typer.Argument(help="Csv with the columns path,label; see 'threeages data import'.")
]
RootFolder = Annotated[
    Path | None, typer.Option("--root", help="Folder that the csv's paths are relative to.")
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
CacheFolder = Annotated[Path | None, typer.Option(help="Folder for cached pixels and features.")]
ModelName = Annotated[str, typer.Option("--model", help="'default', an ONNX file or a run folder.")]
RecipeName = Annotated[str, typer.Option("--recipe", help="A name of training.recipes, such as default.")]
Weights = Annotated[
    str | None, typer.Option(help="Pretrained weights: a safetensors file, a folder of them, or 'random'.")
]
InputSize = Annotated[int | None, typer.Option(help="Pixels on each side of what the model sees.")]
FaceAlignment = Annotated[
    float | None, typer.Option(help="How closely faces are cut out, as a share of the landmarks' template.")
]
SplitKind = Annotated[str | None, typer.Option("--split", help="random, people or none (all rows train).")]
EXTRAS = {  # what a command misses where the package was installed without the extra
    **dict.fromkeys(("torch", "sklearn", "lightning_fabric", "onnx", "safetensors"), "train"),
    **dict.fromkeys(("fastapi", "starlette", "uvicorn", "prometheus_client", "python_multipart"), "serve"),
}
MaxError = Annotated[
    float | None, typer.Option(help="Answer only where the error stays at this rate, such as 0.15.")
]
Coverage = Annotated[
    float | None, typer.Option(help="Add the set of groups that holds the true one this often, such as 0.9.")
]
Only = Annotated[str | None, typer.Option(help="Judge the rows with this value: source=faces.")]
NoDetect = Annotated[bool, typer.Option("--no-detect", help="Take every image whole, as a face crop.")]

WATCH_FROM = 100  # images; fewer are answered before a bar is read
WIDE = 240  # columns of a table that no terminal shows


def main() -> None:
    """Run the command line; the one place that turns errors into messages and exit codes."""
    for stream in (sys.stdout, sys.stderr):  # a file name need not be valid UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except ThreeAgesError as error:
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(2) from None
    except BrokenPipeError:  # `threeages predict ... | head`
        sys.stderr.close()
        raise SystemExit(1) from None
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(error.name or "")
        if extra is None:
            raise
        typer.echo(f"Error: {MissingDependencyError(error.name or '', extra)}", err=True)
        raise SystemExit(2) from None


def _print_version(asked: bool) -> None:
    if asked:
        import threeages

        typer.echo(threeages.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Which age group is this face: YOUNG, MIDDLE or OLD?"""


@app.command()
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
    from threeages.inference.predictor import expand_sources, write_records

    predictor = _predictor(model, no_detect, max_error, coverage)
    paths = expand_sources(sources, sys.stdin)
    failed = 0

    def records() -> Any:
        nonlocal failed
        answer = predictor.predict_together if together else predictor.predict
        for record in answer(_watched(paths)):
            failed += record.failed
            yield record

    if jsonl or csv:
        write_records(records(), sys.stdout, "jsonl" if jsonl else "csv")
    else:
        _print_table(records())
    if failed:
        typer.echo(f"{failed} of {len(paths)} images could not be read.", err=True)
        raise typer.Exit(1)


@app.command()
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
    predictor = _predictor(model, False, max_error, coverage)
    frames = takewhile(lambda frame: not stopped and frame.seconds < seconds, opened.frames)
    before = signal.signal(signal.SIGINT, stop)
    try:
        faces = track_faces(Video(frames, opened.rate), predictor, name=source, out=out)
        if jsonl:
            for face in faces:
                typer.echo(json.dumps(face.to_dict(), ensure_ascii=False))
        else:
            _print_rows(["track", "seconds", "frames", "age group", "confidence"], summarize_tracks(faces))
    finally:
        signal.signal(signal.SIGINT, before)


@app.command()
def evaluate(
    manifest: Annotated[Path, typer.Option(help="Csv with the columns path,label.")],
    out: OutFolder,
    model: ModelName = "default",
    root: RootFolder = None,
    no_detect: NoDetect = False,
) -> None:
    """Judge a model on a labelled csv: metrics, intervals, predictions and pictures in a folder."""
    from threeages.data.manifest import read_manifest
    from threeages.evaluation.report import write_report
    from threeages.inference.predictor import predict_table

    rows, faults = read_manifest(manifest, root=root)
    result = write_report(predict_table(_predictor(model, no_detect), rows, faults, watch=_watched), out)
    _print_evaluation(result, out)
    if result.n_failed:
        raise typer.Exit(1)


@app.command()
def train(
    manifest: ManifestFile,
    out: OutFolder,
    recipe: RecipeName = "reference-cnn",
    split: SplitKind = None,
    fold: Annotated[int | None, typer.Option(help="Which fold of people is judged.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of the main phase.")] = None,
    head_epochs: Annotated[int | None, typer.Option(help="Before it, with the backbone frozen.")] = None,
    patience: Annotated[int | None, typer.Option(help="Epochs without gain that end a phase.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    lr: Annotated[float | None, typer.Option()] = None,
    precision: Annotated[str | None, typer.Option(help="auto, 32-true or bf16-mixed.")] = None,
    model: Annotated[str | None, typer.Option(help="Another model in the recipe, also timm/NAME.")] = None,
    weights: Weights = None,
    head: Annotated[str | None, typer.Option(help="softmax, soft_ordinal, coral or corn.")] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="A further head, COLUMN or years, with its weight: gender=0.3.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Weights of CLIP's image tower, to learn what it sees too.")
    ] = None,
    prefix_cache: Annotated[
        bool | None, typer.Option("--prefix-cache/--no-prefix-cache", help="Compute what is frozen once.")
    ] = None,
    max_cache_gb: Annotated[float | None, typer.Option(help="Most disk space that may take.")] = None,
    size: InputSize = None,
    alignment: FaceAlignment = None,
    temperature: Annotated[float | None, typer.Option(help="Calibrates where none is fitted.")] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the epochs for TensorBoard too.")
    ] = False,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Train a recipe into a run folder and judge it on the rows held out; goes on where it was stopped."""
    from threeages.data.manifest import load_manifest
    from threeages.evaluation.report import write_report
    from threeages.training.recipes import TEACHER_WEIGHT, create_recipe
    from threeages.training.run import train as run_training
    from threeages.training.tensorboard import open_tensorboard

    given: dict[str, Any] = {
        "split": split, "fold": fold, "epochs": epochs, "head_epochs": head_epochs, "patience": patience,
        "seed": seed, "lr": lr, "precision": precision, "model": model, "weights": weights, "head": head,
        "tasks": dict(_weighted(text) for text in task) if task else None, "prefix_cache": prefix_cache,
        "max_cache_gb": max_cache_gb, "input_size": size, "alignment": alignment, "temperature": temperature,
    }  # fmt: skip
    config = create_recipe(recipe)
    if teacher:
        tasks = given["tasks"] or config.tasks
        given |= {"teacher": teacher, "tasks": {"teacher": TEACHER_WEIGHT, **tasks}}
    config = replace(config, **_without_none(given))
    table = run_training(
        load_manifest(manifest, root=root, need_label=False),
        config,
        out,
        cache_dir=cache_dir,
        log=open_tensorboard(out) if tensorboard else None,
    )
    if table is None:
        typer.echo(f"Trained on every row; nothing was judged. Model: {out}")
        return
    _print_evaluation(write_report(table, out), out)


@app.command()
def adapt(
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option("--out", help="Weights to write (.safetensors), for --weights.")],
    recipe: RecipeName = "default",
    weights: Weights = None,
    size: InputSize = None,
    alignment: FaceAlignment = None,
    split: SplitKind = None,
    fold: Annotated[int | None, typer.Option(help="The fold of people that is not learnt from.")] = None,
    only: Annotated[
        str | None, typer.Option(help="Learn from the rows with this value: source=faces.")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Weights of CLIP's image tower, to learn its patches too.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="What an earlier adapt wrote, to go on from; --weights still teach.")
    ] = None,
    mix: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the views that show two faces in one; for a GPU.")
    ] = 0.0,
    epochs: Annotated[int, typer.Option(min=1)] = 4,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Faces a step.")] = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Make a pretrained network fit for small and poor faces, without labels; goes on where stopped."""
    from threeages.data.manifest import load_manifest
    from threeages.training.distill import adapt as run_adapting
    from threeages.training.recipes import create_recipe

    given = {
        "weights": weights, "input_size": size, "alignment": alignment, "split": split, "fold": fold,
        "batch_size": batch_size,
    }  # fmt: skip
    config = replace(create_recipe(recipe), **_without_none(given))
    losses = run_adapting(
        load_manifest(manifest, root=root, need_label=False),
        config,
        out,
        only=_pair(only) if only else None,
        teacher=teacher,
        start=start,
        mix=mix,
        epochs=epochs,
        cache_dir=cache_dir,
    )
    for epoch, loss in enumerate(losses, start=1):
        typer.echo(f"epoch {epoch}  loss {loss:.4f}")
    typer.echo(f"Weights: {out}")


@app.command()
def ensemble(
    manifest: ManifestFile,
    runs: Annotated[list[Path], typer.Argument(help="Run folders that held out the same rows.")],
    out: OutFolder,
    views: Annotated[
        str, typer.Option(help="Of each face, by commas: plain, mirrored, whole, whole-mirrored.")
    ] = "plain,mirrored",
    only: Only = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Judge runs together on the rows they held out: the mean of their answers over views of a face."""
    from threeages.data.manifest import load_manifest
    from threeages.evaluation.report import write_report
    from threeages.studies.ensemble import ask_together

    rows = load_manifest(manifest, root=root, need_label=False)
    table = ask_together(
        rows, runs, views.split(","), only=_pair(only) if only else None, cache_dir=cache_dir
    )
    _print_evaluation(write_report(table, out), out)


@app.command()
def judge(
    predictions: Annotated[
        list[Path], typer.Argument(help="Predictions csv of any model; several are joined.")
    ],
    out: OutFolder,
    only: Only = None,
    name: Annotated[str, typer.Option(help="Name of the model in --table.")] = "",
    table: Annotated[Path | None, typer.Option(help="Csv of results to add a row to.")] = None,
) -> None:
    """Judge predictions on disk, such as the five folds of a cross-validation together."""
    from threeages.evaluation.predictions import join_predictions, load_predictions
    from threeages.evaluation.report import add_result, write_report

    joined = join_predictions([load_predictions(path) for path in predictions])
    if only:
        joined = joined.where(*_pair(only))
    result = write_report(joined, out)
    if table:
        add_result(result, table, name or out.name)
    _print_evaluation(result, out)


@app.command()
def thresholds(
    predictions: Annotated[
        list[Path], typer.Argument(help="Predictions csv on people outside training; several are joined.")
    ],
    model: Annotated[Path | None, typer.Option(help="ONNX file to store them in.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Json file to write what was measured to.")
    ] = None,
) -> None:
    """Measure from which confidence on a model may answer, and how wide its sets must be."""
    import json
    from dataclasses import asdict

    from threeages.data.manifest import atomic_path
    from threeages.evaluation.predictions import join_predictions, load_predictions
    from threeages.evaluation.thresholds import measure_thresholds, replace_signature
    from threeages.inference.predictor import OnnxModel

    found = measure_thresholds(join_predictions([load_predictions(path) for path in predictions]))
    if model:
        replace_signature(model, found.apply(OnnxModel(model).signature))
    if out:
        with atomic_path(out) as part:
            part.write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
    typer.echo(f"{found.n:,} images of {found.persons:,} persons; measured on persons left out")
    _print_rows(
        ["error rate", "confidence from", "answered", "error"],
        [[f"{e.rate:g}", f"{e.confidence:.3f}", f"{e.answered:.3f}", f"{e.error:.3f}"] for e in found.errors],
    )
    _print_rows(
        ["coverage", "probability from", "covered, a person", "groups in the set"],
        [
            [f"{s.coverage:g}", f"{s.probability:.3f}", f"{s.covered:.3f}", f"{s.size:.2f}"]
            for s in found.sets
        ],
    )
    if found.age_margin is not None:
        typer.echo(f"Intervals of years grow by {found.age_margin:+.1f} at both ends")


@app.command()
def card(
    sets: Annotated[list[str], typer.Option("--set", help="NAME=PREDICTIONS.csv; several csv with commas.")],
    out: Annotated[Path, typer.Option("--out", help="The Markdown file to write.")],
    model: ModelName = "default",
    roots: Annotated[
        list[str] | None,
        typer.Option("--root", help="NAME=FOLDER of the images, for slices by size and colour."),
    ] = None,
) -> None:
    """Write the model card from predictions on people outside training."""
    from threeages.evaluation.card import CardSet, write_card
    from threeages.evaluation.predictions import join_predictions, load_predictions
    from threeages.inference.predictor import OnnxModel

    folders = dict(map(_pair, roots or ()))
    tables = {
        name: join_predictions([load_predictions(Path(file)) for file in files.split(",")])
        for name, files in map(_pair, sets)
    }
    path = _model_path(model)
    loaded = OnnxModel(path)
    cards = [CardSet(n, t, Path(folders[n]) if n in folders else None) for n, t in tables.items()]
    size = path.stat().st_size / 1e6
    write_card(cards, loaded.signature, out, megabytes=size, has_years=loaded.has_years)
    typer.echo(f"Written to {out}")


@app.command()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders or predictions; the first is the baseline.")
    ],
) -> None:
    """Judge runs on the images all of them answered: figures, and paired differences from the first."""
    from threeages.evaluation.compare import FIGURES, compare_tables, load_run

    found = compare_tables([(str(path), load_run(path)) for path in runs])
    typer.echo(f"{found[0].n:,} images; differences from {found[0].name} with 95 % intervals")
    rows = []
    for item in found:
        cells = [f"{item.figures[f]:.4f}  {d:+.4f} [{low:+.4f}, {high:+.4f}]"
                 for f in FIGURES for d, low, high in [item.differences[f]]]  # fmt: skip
        rows.append([item.name, *cells])
    _print_rows(["run", *FIGURES], rows)


@app.command()
def study(
    manifest: ManifestFile,
    out: OutFolder,
    recipes: Annotated[str, typer.Option(help="Names with commas between them; 'all', 'ablation'.")] = "all",
    splits: Annotated[str, typer.Option(help="random, people or both with a comma.")] = "random,people",
    folds: Annotated[int, typer.Option(help="How many of the five folds of people are judged.")] = 5,
    weights: Annotated[str, typer.Option(help="Pretrained weights: a folder of safetensors files.")] = "",
    seed: Annotated[int, typer.Option()] = 42,
    epochs: Annotated[int | None, typer.Option(help="Cut every phase to this many epochs.")] = None,
    only: Only = None,
    table: Annotated[Path | None, typer.Option(help="Csv of results to add the rows to.")] = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Repeat the reference study and its corrections on both splits; goes on where it was stopped."""
    from threeages.data.manifest import load_manifest
    from threeages.studies import reference as studying

    named = {"all": studying.RECIPES, "ablation": studying.ABLATION}
    plan = studying.Study(
        load_manifest(manifest, root=root, need_label=False), out,
        named.get(recipes, tuple(recipes.split(","))), studying.parse_splits(splits), folds, weights, seed,
        epochs, _pair(only) if only else None, cache_dir,
    )  # fmt: skip
    rows = studying.run_study(plan, typer.echo)
    if table:
        studying.write_rows(rows, table)
    _print_rows(*studying.summarize(rows))
    typer.echo(f"Written to {out / 'study.md'}")


@app.command()
def tune(
    manifest: ManifestFile,
    out: OutFolder,
    trials: Annotated[int, typer.Option(help="In all, those of an earlier start included.")] = 30,
    processes: Annotated[int, typer.Option(help="Working on one storage.")] = 1,
    split: Annotated[str, typer.Option(help="people or random.")] = "people",
    epochs: Annotated[int, typer.Option(help="Most epochs of a trial.")] = 10,
    size: Annotated[int, typer.Option(help="Pixels of an image's side.")] = 128,
    seed: Annotated[int, typer.Option()] = 42,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Search the reference study's space of CNNs; writes a picture and the best recipe, and goes on."""
    from threeages.data.manifest import load_manifest
    from threeages.studies.tune import Search, run_search
    from threeages.training.recipes import create_recipe

    given: dict[str, Any] = {"split": split, "epochs": epochs, "input_size": size, "seed": seed}
    base = replace(create_recipe("reference-cnn"), **given)
    run_search(
        Search(load_manifest(manifest, root=root), out, base, trials, processes, cache_dir), typer.echo
    )
    typer.echo(f"Train it with: threeages train {manifest} --recipe {out / 'best.json'} --out FOLDER")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder or checkpoint.")],
    out: Annotated[Path, typer.Option("--out", help="The ONNX file to write.")],
    int8: Annotated[
        Path | None, typer.Option(help="Write it in 8 bits; a manifest of faces to calibrate and check with.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of the answers, where it was measured on folds of people.")
    ] = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Write one ONNX file with its preprocessing inside; fails where it differs from torch."""
    from threeages.data.manifest import load_manifest
    from threeages.export.to_onnx import collect_faces, export_onnx
    from threeages.training.checkpoint import load_checkpoint

    model = load_checkpoint(run)[0]
    if temperature is not None:
        model.signature = replace(model.signature, temperature=temperature)
    faces = None
    if int8:
        rows = load_manifest(int8, root=root, need_label=False)
        faces = collect_faces(rows, model.signature, cache_dir)
    parity = export_onnx(model, out, faces)
    typer.echo(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, largest difference from torch {parity.difference:.1e}"
    )
    if parity.agreement is not None:
        typer.echo(
            f"In 8 bits {parity.agreement:.2%} of the answers are torch's; accuracy lost: "
            f"{parity.accuracy_loss:.2%} (error {parity.loss_error:.2%})."
        )


@app.command()
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
    run_server(_model_path(model), settings, host=host, port=port, trusted_proxies=proxies, say=_say)


@app.command()
def demo(out: OutFolder = Path("runs/demo")) -> None:
    """Predict on portraits, train the CNN for a minute and write a report."""
    from threeages.demo import run_demo

    run_demo(out, typer.echo)


@data_app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="kaggle:owner/name, a zip, a folder or a csv.")],
    out: Annotated[Path, typer.Option("--out", help="The manifest csv to write.")] = Path("faces.csv"),
    people: Annotated[Path | None, typer.Option(help="Csv with ID,person and other columns to join.")] = None,
    bounds: Annotated[str, typer.Option(help="First year of YOUNG, MIDDLE, OLD.")] = "13,31,51",
    age_column: Annotated[str | None, typer.Option(help="Column of years in a csv.")] = None,
    children: Annotated[
        bool, typer.Option("--children", help="Keep ages below YOUNG, without a label: they teach years.")
    ] = False,
    cache_dir: CacheFolder = None,
) -> None:
    """Read a data set and write its manifest."""
    from threeages.data.sources import import_source
    from threeages.errors import ConfigError
    from threeages.labels import AGE_GROUPS, AgeBounds

    try:
        young, middle, old = (float(part) for part in bounds.split(","))
    except ValueError as error:
        raise ConfigError(f"--bounds was '{bounds}'.", hint="Give three rising ages: 13,31,51.") from error
    result = import_source(
        source,
        out=out,
        people=people,
        bounds=AgeBounds(young, middle, old),
        age_column=age_column,
        children=children,
        cache_dir=cache_dir,
    )
    labels = result.manifest.labels
    counts = ", ".join(f"{name} {int((labels == i).sum()):,}" for i, name in enumerate(AGE_GROUPS))
    typer.echo(f"{out}: {len(result.manifest):,} rows ({result.kind}): {counts}")
    for reason, count in result.excluded.items():
        typer.echo(f"  left out: {reason} {count:,}")


@data_app.command()
def merge(
    manifests: Annotated[list[Path], typer.Argument(help="Manifests of different sets.")],
    out: Annotated[Path, typer.Option("--out", help="The manifest csv to write.")],
) -> None:
    """Join manifests, so that sets with different labels train together; `source` is the file's name."""
    from threeages.data.manifest import load_manifest, save_manifest
    from threeages.data.merge import merge as merge_manifests

    parts = {path.stem: load_manifest(path, need_label=False) for path in manifests}
    merged = merge_manifests(parts)
    save_manifest(merged, out, provenance={"sources": [str(path) for path in manifests]})
    typer.echo(f"{out}: {len(merged):,} rows")
    for name, part in parts.items():
        people = part.clusters()
        known = "every image stands alone" if people is None else f"{len(set(people.tolist()))} people"
        typer.echo(f"  {name} {len(part):,} rows, {known}")


@data_app.command()
def audit(manifest: ManifestFile, out: OutFolder = Path("audit"), root: RootFolder = None) -> None:
    """Find damaged, doubled, mislabelled and poor images; write audit.json, audit.csv and a picture."""
    from threeages.data.audit import audit as run_audit
    from threeages.data.audit import write_audit
    from threeages.data.manifest import load_manifest

    found = run_audit(load_manifest(manifest, root=root))
    write_audit(found, out)
    for kind, count in found.counts().items():
        typer.echo(f"{kind:24} {count:>7,}")
    try:
        from threeages.evaluation.plots import plot_class_distribution, save_figure

        save_figure(plot_class_distribution(found.class_counts), out / "classes.png")
    except MissingDependencyError as error:
        typer.echo(f"No picture: {error}", err=True)
    typer.echo(f"Written to {out}")


@data_app.command()
def split(
    manifest: ManifestFile,
    mode: Annotated[str, typer.Option(help="random or people.")] = "people",
    fold: Annotated[int, typer.Option()] = 0,
    folds: Annotated[int, typer.Option()] = 5,
    seed: Annotated[int, typer.Option()] = 42,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Say how a split divides the rows, and how many duplicates straddle it."""
    import numpy as np

    from threeages.data.cache import open_cache
    from threeages.data.manifest import load_manifest
    from threeages.data.split import create_split
    from threeages.labels import AGE_GROUPS
    from threeages.training.config import TrainConfig

    config = TrainConfig(split=mode, fold=fold, folds=folds, seed=seed)  # type: ignore[arg-type]
    rows = load_manifest(manifest, root=root)
    cache = open_cache(rows, config.input_size, folder=cache_dir)
    parts = create_split(rows, cache.digests, config.split, fold=fold, folds=folds, seed=seed)
    for name in ("train", "select", "test"):
        labels = rows.labels[getattr(parts, name)]
        shares = np.bincount(labels, minlength=3) / max(len(labels), 1)
        text = "  ".join(f"{group} {share:.4f}" for group, share in zip(AGE_GROUPS, shares, strict=True))
        typer.echo(f"{name:8} {len(labels):>7,} rows  {text}")
    typer.echo(f"{parts.straddling} test images have an identical twin in train")


@data_app.command("cache")
def show_cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete all of it.")] = False,
    cache_dir: CacheFolder = None,
) -> None:
    """Say what pixels and features take on disk, and delete them with --clear; they are computed anew."""
    from threeages.data.stored import find_stored, remove_stored

    entries = find_stored(cache_dir)
    for stored in entries:
        typer.echo(f"{stored.size / 1e9:8.2f} GB  {stored.made}  {stored.path}")
    if clear:
        remove_stored(entries)
    total = sum(stored.size for stored in entries) / 1e9
    typer.echo(f"{total:8.2f} GB in all{', deleted' if clear else ''}")


def _weighted(text: str) -> tuple[str, float]:
    """('gender', 0.3) of 'gender=0.3'; the weight is 1 where none is given."""
    from threeages.errors import ConfigError

    name, _, weight = text.partition("=")
    try:
        return name, float(weight or 1)
    except ValueError as error:
        raise ConfigError(f"--task was '{text}'.", hint="Give a column and a weight: gender=0.3.") from error


def _without_none(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _pair(text: str) -> tuple[str, str]:
    from threeages.errors import DataError

    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise DataError(f"'{text}' is not NAME=VALUE.", hint="Such as --only source=faces.")
    return name, value


def _predictor(
    model: str, no_detect: bool, max_error: float | None = None, coverage: float | None = None
) -> "Predictor":
    from threeages.inference.predictor import load_predictor

    return load_predictor(_model_path(model), detect=not no_detect, max_error=max_error, coverage=coverage)


def _model_path(model: str) -> Path:
    from threeages.inference.predictor import default_model_path

    path = default_model_path() if model == "default" else Path(model)
    return _exported(path) if path.is_dir() else path


def _exported(run: Path) -> Path:
    """The run folder's ONNX file, exported from its best checkpoint where that is newer."""
    from threeages.export.to_onnx import export_onnx
    from threeages.training.checkpoint import BEST, load_checkpoint

    path, best = run / "model.onnx", run / BEST
    if not path.exists() or (best.exists() and best.stat().st_mtime > path.stat().st_mtime):
        export_onnx(load_checkpoint(run)[0], path)
    return path


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _print_table(records: Any) -> None:
    """A row a face, and below it why some have no answer."""
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    found = list(records)
    names = ["young", "middle", "old", *(["years"] if any(r.age is not None for r in found) else []), "box"]
    path = Column("path", overflow="fold", min_width=12)
    status = Column("status", no_wrap=True)
    table = Table(path, status, "age group", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for name in names:  # the box takes two lines where the terminal has 80 columns
        table.add_column(name, justify="right", no_wrap=name != "box", min_width=7 if name == "box" else None)
    for r in found:
        group = "" if r.age_group is None else r.age_group
        if r.age_set is not None:
            group = f"{group} of {{{', '.join(r.age_set)}}}".strip()
        probs = [f"{p:.2f}" for p in r.probs.values()] if r.probs else [""] * 3
        years = [] if "years" not in names else [_years(r)]
        place = " ".join(map(str, r.box or ()))
        table.add_row(Text(r.path), r.status, group, *probs, *years, place)
    console = _console()
    console.print(table)
    for r in found:
        if r.message:
            console.print(Text(f"{r.path}: {r.message}"))


def _years(record: "Record") -> str:
    return "" if record.age is None else f"{record.age:.0f} ({record.age_low:.0f}-{record.age_high:.0f})"


def _watched(paths: Sequence[Path]) -> Iterable[Path]:
    """The paths as they are, with a progress bar on stderr where that is a terminal and they are many."""
    if len(paths) < WATCH_FROM or not sys.stderr.isatty():
        return paths
    from rich.console import Console
    from rich.progress import track

    return track(paths, description=f"{len(paths):,} images", console=Console(stderr=True), transient=True)


def _print_rows(header: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table

    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def _console() -> "Console":
    """As wide as the terminal; into a file or pipe wide enough that no path is broken."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=WIDE, soft_wrap=True)


def _print_evaluation(result: "Evaluation", out: Path) -> None:
    typer.echo(f"{result.n:,} images judged, {result.n_failed:,} without an answer {result.failed or ''}")
    for name, value in result.metrics.items():
        bounds = result.intervals.get(name)
        interval = f"  [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds and math.isfinite(bounds[0]) else ""
        figure = f"{value:.4f}{interval}" if math.isfinite(value) else "not defined"
        typer.echo(f"  {name:18} {figure}")
    typer.echo(f"Written to {out}")
