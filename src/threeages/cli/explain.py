"""Commands that show why: explain, sheet and identity-probe."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from threeages.cli.models import find_model
from threeages.cli.options import (
    CacheFolder,
    DeviceName,
    ManifestFile,
    ModelName,
    NoDetect,
    Only,
    OutFolder,
    RootFolder,
)
from threeages.cli.output import describe_faces, print_notes, print_rows, print_unreadable, show_log

if TYPE_CHECKING:
    from threeages.inference.explain import Explanation
    from threeages.inference.explanation import MapMethod, Predict
    from threeages.inference.faithfulness import Faithfulness
    from threeages.signature import Signature

OCCLUSION, GRAD_CAM = "occlusion", "grad-cam"


def explain(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders, globs, manifests (csv or parquet), or '-' for a list of paths on "
            "stdin."
        ),
    ],
    out: OutFolder,
    model: ModelName = "default",
    method: Annotated[
        str, typer.Option(help="occlusion for any model, or grad-cam for a run folder (extra 'explain').")
    ] = OCCLUSION,
    no_detect: NoDetect = False,
    curves: Annotated[
        bool,
        typer.Option("--curves", help="Measure each map by deletion and insertion, beside random maps."),
    ] = False,
    mean: Annotated[
        bool,
        typer.Option("--mean", help="Write the mean map of the largest faces to mean.png, and none of each."),
    ] = False,
    root: RootFolder = None,
    device: DeviceName = "auto",
) -> None:
    """Show which parts of each face the answer rests on; exit code 1 where an image cannot be read.

    Writes a picture for every image and explanations.json with all maps to a folder; the pictures hold faces.
    A stop keeps what is explained, and the same command then resumes.
    """
    from threeages.cli.explaining import Explaining
    from threeages.faces.yunet import YuNet
    from threeages.inference.prepare import FacePreparer
    from threeages.inference.records import ABSTAINED, OK

    show_log()
    signature, predict, make_map = _open_method(method, model, device)
    paths = list(dict.fromkeys(_find_images(sources, root)))
    preparer = FacePreparer(signature, None if no_detect else YuNet())
    about = {
        "model": model,
        "checksum": _find_checksum(method, model),
        "method": method,
        "detect": not no_detect,
        "curves": curves,
        "mean": mean,
    }
    explaining = Explaining(out, about, preparer, mean=mean)
    explaining.run(paths, make_map, predict if curves else None)
    held = explaining.explanations
    _print_faces(held, curves)
    failed = sum(one.status not in {OK, *ABSTAINED} for one in held)
    if print_unreadable(failed, len({one.path for one in held})):
        raise typer.Exit(1)


def sheet(
    predictions: Annotated[
        list[Path], typer.Argument(help="Run folders or predictions csv with labels; several are joined.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write; it holds faces.")],
    root: Annotated[Path, typer.Option("--root", help="Folder that the predictions' paths are relative to.")],
    count: Annotated[int, typer.Option(min=1, help="Images of each kind.")] = 24,
    per_identity: Annotated[
        int, typer.Option(min=0, help="Most images of one identity in a kind; 0 for any number.")
    ] = 1,
) -> None:
    """Show the surest hits, the surest mistakes and the least sure predictions with their images.

    Exit code 1 where an image cannot be read; the sheet then says so in its place.
    """
    from threeages.errors import ConfigError, format_count
    from threeages.evaluation.extremes import find_extremes
    from threeages.evaluation.joining import join_runs
    from threeages.evaluation.sheet import write_sheet

    if out.suffix.lower() not in {".html", ".htm"}:
        raise ConfigError(f"--out was {out}.", hint="Give a file that ends in .html.")
    table = join_runs(predictions)
    written = write_sheet(table, find_extremes(table, count, per_identity=per_identity), root, out)
    typer.echo(f"Written to {out}")
    if written.pictures:
        typer.echo(describe_faces("The sheet holds"), err=True)
    if written.unreadable:
        path, message = next(iter(written.unreadable.items()))
        typer.echo(
            f"{format_count(written.unreadable, 'image')} could not be read, first {path}: {message} "
            f"Paths are relative to {root}; name another folder with --root.",
            err=True,
        )
        raise typer.Exit(1)


def identity_probe(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run folder, or a recipe: then the network before it learns any age."
        ),
    ],
    manifest: ManifestFile,
    only: Only = None,
    table: Annotated[Path | None, typer.Option(help="Csv of results to add the rows to.")] = None,
    name: Annotated[str, typer.Option(help="Name of the model in --table.")] = "",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Chooses the images held out.")] = 0,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Measure how well features name the identity, and the age accuracy that is left without that part.

    Needs a manifest with identities that have ten images with a label or more, and the extra 'explain'. No
    identity is named anywhere.
    """
    from threeages.data.manifest import load_manifest
    from threeages.studies.identity_probe import (
        check_probe,
        describe_few,
        find_usable,
        open_probe,
        run_probe,
        save_probe,
        summarize_probe,
    )
    from threeages.studies.recipes import create_recipe
    from threeages.training.features import check_by_identity

    show_log()
    config = create_recipe(model)
    check_by_identity(config)
    check_probe()
    rows = load_manifest(manifest, root=root, need_label=False)
    find_usable(rows, only)  # what the manifest lacks is said before an image is read
    run = Path(model) if Path(model).is_dir() else None
    data, kind = open_probe(rows, config, run, only, cache_dir)
    measured = run_probe(data, seed)
    if table:
        measured = [row | {"seed": str(seed)} for row in measured]
        save_probe(measured, name or Path(model).name, kind, table)
    print_notes(describe_few(measured))
    print_rows(*summarize_probe(measured))


def _open_method(method: str, model: str, device: str) -> "tuple[Signature, Predict, MapMethod]":
    """The preprocessing, the probabilities and the maps that --method and --model name."""
    from functools import partial

    from threeages.errors import ConfigError
    from threeages.inference.occlusion import map_occlusion
    from threeages.inference.runtime import OnnxModel

    if method == GRAD_CAM:
        from threeages.training.explain import open_grad_cam

        return open_grad_cam(Path(model))
    if method != OCCLUSION:
        raise ConfigError(f"--method was '{method}'.", hint=f"Allowed: {OCCLUSION}, {GRAD_CAM}.")
    onnx = OnnxModel(find_model(model), device=device)
    return onnx.signature, onnx.predict, partial(map_occlusion, onnx.predict)


def _find_checksum(method: str, model: str) -> str:
    """That of the file whose answers are explained."""
    from threeages.files.checksums import checksum

    if method == OCCLUSION:
        return checksum(find_model(model))
    from threeages.training.checkpoint import BEST

    return checksum(Path(model) / BEST)


def _find_images(sources: list[str], root: Path | None) -> Iterator[Path]:
    """The images that arguments name; those of a manifest where one is a csv or parquet."""
    from threeages.cli.inputs import expand_sources
    from threeages.data.manifest import load_manifest

    is_manifest: Callable[[str], bool] = lambda source: Path(source).suffix.lower() in {".csv", ".parquet"}  # noqa: E731
    for source in filter(is_manifest, sources):
        yield from load_manifest(Path(source), root=root, need_label=False).files()
    if images := [source for source in sources if not is_manifest(source)]:
        for image in expand_sources(images, sys.stdin):
            yield image if isinstance(image, Path) else Path(image.name)


def _print_faces(explanations: "list[Explanation]", curves: bool) -> None:
    """A row a face, below them the mean of several, then the messages about images without one."""
    from threeages.inference.faithfulness import average_faithfulness

    header = ["path", "face", "age group", "probability"]
    names = ["deletion", "random_deletion", "insertion", "random_insertion"] if curves else []
    rows = [_cells(one, names) for one in explanations]
    measured = [one.faithfulness for one in explanations if one.faithfulness]
    if len(measured) > 1:
        rows.append(["mean", "", "", "", *_format_areas(average_faithfulness(measured), names)])
    print_rows([*header, *(name.replace("_", " ") for name in names)], rows)
    for one in explanations:
        if one.message:
            typer.echo(f"{one.path}: {one.message}")


def _cells(explanation: "Explanation", names: list[str]) -> list[str]:
    if explanation.found is None:
        return [explanation.path, "", explanation.status, "", *[""] * len(names)]
    cells = [explanation.path, str(explanation.face), str(explanation.age_group)]
    return [*cells, f"{explanation.found.prob:.2f}", *_format_areas(explanation.faithfulness, names)]


def _format_areas(worth: "Faithfulness | None", names: list[str]) -> list[str]:
    return [f"{getattr(worth, name):.3f}" for name in names]
