"""Measure the temperature of the distribution over years on sources that the models never met.

    python tools/years_calibration.py runs/release --root DATA --out runs/years

For each source that tools/release.py held out, the int8 model that was trained without it answers up to
--rows of its faces whose age is one year, drawn by --seed. The temperature is fitted on these answers with
every source weighing the same; each row of the results is of a source, with the temperature of the others.
The answers stay in --out as predictions csv: a second start reads them.
"""

import argparse
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np

from threeages.data.manifest import Manifest
from threeages.evaluation import metrics
from threeages.evaluation.collect import predict_table
from threeages.evaluation.predictions import (
    PredictionTable,
    join_predictions,
    load_predictions,
    save_predictions,
)
from threeages.evaluation.unseen import HELD_OUT
from threeages.evaluation.years import measure_years_calibration, read_distributions
from threeages.files.csvfiles import replace_rows
from threeages.inference.brackets import Brackets, rescale_years
from threeages.inference.predictor import load_predictor
from threeages.machine import describe_commit, describe_machine

BRACKETS = Brackets((0, 13, 18, 30, 50))


def main() -> None:
    """Predict what is missing, fit, and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("release", type=Path, help="folder of tools/release.py")
    parser.add_argument("--root", type=Path, required=True, help="folder that the paths are relative to")
    parser.add_argument("--out", type=Path, required=True, help="folder for the answers")
    parser.add_argument("--results", type=Path, help="csv to write the rows to")
    parser.add_argument("--rows", type=int, default=1500, help="most faces of a source")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tables = list(predict_sources(args.release, args.root, args.out, args.rows, args.seed))
    found = list(measure_sources(tables))
    for row in found:
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    if args.results:
        about = {"machine": describe_machine(), "date": date.today().isoformat(), "seed": str(args.seed)}
        replace_rows(
            args.results, [row | about | {"commit": describe_commit()} for row in found], (HELD_OUT,)
        )


def predict_sources(release: Path, root: Path, out: Path, rows: int, seed: int) -> Iterator[PredictionTable]:
    """The answers for each source held out that has true ages."""
    for run in sorted(release.glob("int8/without-*")):
        target = out / f"{run.name}.csv"
        if not target.exists():
            known = load_predictions(run / "predictions.csv")
            exact = np.flatnonzero(np.isfinite(known.ages()))
            if not len(exact):
                continue
            size = min(rows, len(exact))
            drawn = known.take(np.sort(np.random.default_rng(seed).choice(exact, size, replace=False)))
            manifest = Manifest(root, drawn.paths, drawn.labels, drawn.columns)
            save_predictions(predict_table(load_predictor(run / "model.onnx"), manifest), target)
        yield load_predictions(target)


def measure_sources(tables: list[PredictionTable]) -> Iterator[dict[str, str]]:
    """A row for each source, with the temperature of the others, and one of all with the one to ship."""
    for i, table in enumerate(tables):
        others = measure_years_calibration(join_predictions([*tables[:i], *tables[i + 1 :]]), by=HELD_OUT)
        assert others
        yield _row(table, table.columns[HELD_OUT][0], others.temperature)
    whole = join_predictions(tables)
    found = measure_years_calibration(whole, by=HELD_OUT)
    assert found
    means = {"nll_before": f"{found.nll_before:.4f}", "nll": f"{found.nll:.4f}"}
    yield {HELD_OUT: "all", "n": str(found.n), "temperature": f"{found.temperature:.3f}"} | means


def _row(table: PredictionTable, name: str, temperature: float) -> dict[str, str]:
    years, ages = read_distributions(table, calibrated=False), np.rint(table.ages())
    rows = np.isfinite(years[:, 0]) & (ages <= 100)
    table, years = table.take(np.flatnonzero(rows)), years[rows]
    row = {HELD_OUT: name, "n": str(len(table)), "temperature": f"{temperature:.3f}"}
    for suffix, power in (("_before", 1.0), ("", temperature)):
        scaled = rescale_years(years, power)
        probs, labels = BRACKETS.probs(scaled), BRACKETS.find(table.ages())
        found = metrics.summarize(labels, probs, classes=len(BRACKETS.names))
        true = scaled[np.arange(len(table)), table.ages().round().astype(int)]
        row |= {
            f"nll{suffix}": f"{-np.log(true).mean():.4f}",
            f"bracket_nll{suffix}": f"{found['nll']:.4f}",
            f"bracket_ece{suffix}": f"{found['ece']:.4f}",
        }
    return row


if __name__ == "__main__":
    main()
