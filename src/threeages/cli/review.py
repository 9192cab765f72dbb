"""The command of the label review."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from threeages.cli.options import CacheFolder, ManifestFile, RootFolder
from threeages.cli.output import print_notes

if TYPE_CHECKING:
    from threeages.data.manifest import Manifest
    from threeages.evaluation.predictions import PredictionTable
    from threeages.evaluation.suspects import Suspect

DIGEST_SIDE = 32  # pixels of the cached images; duplicates need only the digests and thumbnails


def review(
    manifest: ManifestFile,
    predictions: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run folders or predictions csv of identity-disjoint folds; without any only duplicates "
            "with different labels are shown."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The csv of decisions, which are added to.")] = Path(
        "corrections.csv"
    ),
    reviewer: Annotated[
        str | None, typer.Option(help="Who decides, as the csv says; the user's name by default.")
    ] = None,
    independent: Annotated[
        bool,
        typer.Option("--independent", help="Ask what other reviewers decided too, for a second opinion."),
    ] = False,
    first: Annotated[int | None, typer.Option(min=1, help="Most suspects that are shown.")] = None,
    table: Annotated[Path | None, typer.Option(help="Write the suspects to a csv, and open no page.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8001,
    api_keys: Annotated[
        Path | None,
        typer.Option(help="File of API keys, one a line; needed where --host reaches other machines."),
    ] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="Host name to serve.")] = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Look at the labels that are likely wrong, in a page on this machine, and decide by key.

    Duplicates with different labels come first, then what cleanlab finds by predictions for persons that the
    models were not trained on. Decisions go to a csv, which 'threeages data import' and 'merge' apply.
    """
    from threeages.cli.output import show_log
    from threeages.data.manifest import load_manifest

    if table is None:  # what the page needs is missing before the images are read
        from threeages.server.review import create_review_settings, serve_review
        from threeages.server.review_set import ReviewSet

        settings = create_review_settings(host, api_keys=api_keys, allowed_hosts=allow_host)
        who = _name_reviewer(reviewer)
    show_log()
    rows = load_manifest(manifest, root=root, need_label=False)
    suspects = _find(rows, predictions or [], cache_dir)[:first]
    _print_counts(suspects)
    if table is not None:
        _write(table, rows, suspects)
        return
    found = ReviewSet(rows, suspects, out, who, independent)
    typer.echo(f"{len(found.list_open()):,} of them are open; decisions go to {out}")
    serve_review(found, settings, host=host, port=port)


def _find(rows: "Manifest", predictions: list[Path], cache_dir: Path | None) -> "list[Suspect]":
    from threeages.cli.output import say_left_out
    from threeages.data.cache import open_cache, open_near_duplicates
    from threeages.data.conflicts import find_conflicts, without_rows
    from threeages.evaluation.suspects import find_suspects

    answers = _load(rows, predictions) if predictions else None
    cache = open_cache(rows, DIGEST_SIDE, folder=cache_dir)
    if cache.failed:
        say_left_out(rows, cache.failed)
    found = find_conflicts(rows.labels, cache.digests, open_near_duplicates(cache))
    conflicts = without_rows(found, rows.labels, cache.failed)  # which all look alike
    return [one for one in find_suspects(rows, conflicts, answers) if one.row not in cache.failed]


def _load(rows: "Manifest", predictions: list[Path]) -> "PredictionTable":
    """All predictions; what they lack is said or refused before an image is read."""
    from threeages.errors import format_count
    from threeages.evaluation.joining import check_parts
    from threeages.evaluation.predictions import join_predictions, load_predictions
    from threeages.evaluation.suspects import check_held_out, describe_few, import_cleanlab, match_rows
    from threeages.labels import UNKNOWN

    import_cleanlab()
    tables = {path: load_predictions(path) for path in predictions}
    for path, table in tables.items():
        check_held_out(table)
        if not table.provenance.split:
            typer.echo(f"{path}: make sure that its model was not trained on these persons.", err=True)
    check_parts([(str(path), table) for path, table in tables.items()])
    joined = join_predictions(list(tables.values()))
    labelled, known = int((rows.labels != UNKNOWN).sum()), len(match_rows(rows, joined)[0])
    typer.echo(f"{known:,} of {format_count(labelled, 'label')} have predictions")
    print_notes(describe_few(rows, joined))
    return joined


def _name_reviewer(given: str | None) -> str:
    """The name given, else that of the user; raises ConfigError where neither is there."""
    from threeages.errors import ConfigError

    name = (given or "").strip()
    try:
        name = name or getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without users
        name = ""
    if not name:
        raise ConfigError("Who reviews is not known.", hint="Give a name: --reviewer NAME.")
    return name


def _print_counts(suspects: "list[Suspect]") -> None:
    from threeages.errors import format_count
    from threeages.evaluation.suspects import DUPLICATE

    copies = sum(suspect.reason == DUPLICATE for suspect in suspects)
    typer.echo(
        f"{format_count(suspects, 'label')} to look at: {copies:,} of duplicates with different labels, "
        f"{len(suspects) - copies:,} by predictions"
    )


def _write(path: Path, rows: "Manifest", suspects: "list[Suspect]") -> None:
    from threeages.evaluation.suspects import SUSPECT_COLUMNS, describe_suspects
    from threeages.files.csvfiles import write_rows

    write_rows(path, describe_suspects(rows, suspects), SUSPECT_COLUMNS)
    typer.echo(f"Written to {path}")
