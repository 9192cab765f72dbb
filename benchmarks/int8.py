"""What eight bits cost on people never seen:   python benchmarks/int8.py MANIFEST RUN... --out FOLDER.

Each run is one fold of people. Its model is exported in 8 bits, calibrated on its training people, and
answers its test people, whom torch answered in the run's predictions.csv. All are given the runs' median
temperature, which the shipped model has too: one fold's own is fitted on ten people of films and moves with
them. Writes FOLDER/fold-K/predictions.csv for `threeages judge`, and results/int8.csv.
"""

import argparse
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.data.manifest import load_manifest
from threeages.evaluation.collect import answer_table
from threeages.evaluation.predictions import load_predictions, save_predictions
from threeages.export.to_onnx import CALIBRATION, create_int8
from threeages.files import write_rows
from threeages.inference.runtime import OnnxModel
from threeages.labels import UNKNOWN
from threeages.machine import describe_machine
from threeages.studies.ensemble import ask
from threeages.training.build import open_data
from threeages.training.checkpoint import load_checkpoint
from threeages.training.recipes import read_config

RESULTS = Path(__file__).parents[1] / "results" / "int8.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    manifest = load_manifest(args.manifest, need_label=False)
    models = [load_checkpoint(run)[0] for run in args.runs]
    temperature = float(np.median([model.signature.temperature for model in models]))
    print(f"temperature {temperature:.3f}")
    same, right = [], []
    for run, model in zip(args.runs, models, strict=True):
        model.signature = replace(model.signature, temperature=temperature)
        config = read_config(run)
        cache, split = open_data(manifest, config, None)
        rows = np.random.default_rng(0).choice(split.train, CALIBRATION, replace=False)
        target = args.out / run.name / "model.onnx"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(create_int8(model, cache.pixels[rows]))
        exact = load_predictions(run / "predictions.csv")
        answers = ask(OnnxModel(target), cache.pixels, split.test)
        found = answer_table(manifest, split.test, answers)
        save_predictions(found, target.with_name("predictions.csv"))
        same.append(found.probs.argmax(1) == exact.probs.argmax(1))
        known = exact.labels != UNKNOWN
        right += [[(t.probs.argmax(1) == t.labels)[known] for t in (exact, found)]]
    write_row(args.runs[0].parent.name, np.concatenate(same), right)


def write_row(name: str, same: NDArray[np.bool_], right: list[list[NDArray[np.bool_]]]) -> None:
    exact, found = (float(np.concatenate([pair[i] for pair in right]).mean()) for i in (0, 1))
    row = {
        "runs": name,
        "faces": len(same),
        "same answer": f"{same.mean():.4f}",
        "accuracy in float32": f"{exact:.4f}",
        "accuracy in 8 bits": f"{found:.4f}",
        "machine": describe_machine(),
        "date": date.today().isoformat(),
    }
    print(row)
    write_rows(RESULTS, [row])


if __name__ == "__main__":
    main()
