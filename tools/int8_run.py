"""Export one run's model in int8 and let it predict the run's test rows.

    python tools/int8_run.py all.csv runs/fold-0 --temperature 1.3 --out int8/fold-0

Calibration uses training rows alone. Writes model.onnx, predictions.csv and the run's config.json to the
folder; of a run that a source was held out of, the column held_out names it. tools/release.py calls this for
every fold and source, with one temperature for all: the shipped model trains on all rows and has none to fit
its own on.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from threeages.data.manifest import Manifest, load_manifest
from threeages.evaluation.collect import answer_table, predict_rows
from threeages.evaluation.predictions import PredictionTable, save_predictions
from threeages.evaluation.unseen import name_source
from threeages.export.to_onnx import CALIBRATION, create_int8
from threeages.files.atomic import atomic_path
from threeages.files.writing import write_bytes
from threeages.inference.runtime import OnnxModel
from threeages.training.build import open_data
from threeages.training.checkpoint import load_checkpoint
from threeages.training.recipes import CONFIG_FILE, read_config

SEED = 0  # of the calibration faces


def main() -> None:
    """Export what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("run", type=Path, help="run folder of threeages train")
    parser.add_argument("--temperature", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--cache-dir", type=Path)
    args = parser.parse_args()
    manifest = load_manifest(args.manifest, need_label=False)
    table = export_run(manifest, args.run, args.temperature, args.out, args.cache_dir)
    print(f"{args.out}: {len(table):,} rows predicted")


def export_run(
    manifest: Manifest, run: Path, temperature: float, out: Path, cache_dir: Path | None = None
) -> PredictionTable:
    """Write the run's int8 model and its predictions of the run's test rows; return the predictions."""
    model = load_checkpoint(run)[0]
    model.signature = replace(model.signature, temperature=temperature)
    config = read_config(run)
    cache, split = open_data(manifest, replace(config, augmented_copies=1), cache_dir)
    size = min(CALIBRATION, len(split.train))
    rows = np.random.default_rng(SEED).choice(split.train, size, replace=False)
    target = out / "model.onnx"
    with atomic_path(target) as part:
        part.write_bytes(create_int8(model, cache.pixels[rows]))
    outputs = predict_rows(OnnxModel(target).predict_all, cache.pixels, split.test)
    table = answer_table(manifest, split.test, outputs)
    if config.held_out:
        table = name_source(table, config.held_out)
    save_predictions(table, out / "predictions.csv")
    # how the rows were split, for who evaluates the predictions
    write_bytes(out / CONFIG_FILE, (run / CONFIG_FILE).read_bytes())
    return table


if __name__ == "__main__":
    main()
