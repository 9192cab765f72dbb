"""What the adapters of peers in Python share; nothing but Python, as they run in the peer's environment.

An adapter is a program `NAME_predict.py` of two forms, as any other program in any language may be:

    python NAME_predict.py [--files PATH] LIST.csv OUT.csv       LIST.csv: path
    python NAME_predict.py [--files PATH] --photo PHOTO.jpg      prints milliseconds, decode to answer

OUT.csv has the columns `path`, `found` (True where the peer's own detector found a face, else False, empty
where it has none) and its answer:
`predicted_age` in years, or prob_young, prob_middle and prob_old, or `age_group`; see
threeages.evaluation.answers, which reads it. The peer detects first, as its users would have it; an image in
which it finds no face is taken whole. `--files` names files of the peer that its package does not hold.
"""

import argparse
import csv
import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROUNDS = 40
WARM_UP = 3
BOUNDS = (13, 31, 51)  # first years of YOUNG, MIDDLE and OLD
LAST = 100


@dataclass(frozen=True)
class Answer:
    """Years, or probabilities of the three age groups, or both; `found` by the peer's detector, if any."""

    years: float | None
    found: bool | None
    probs: Sequence[float] | None = None


Predict = Callable[[str], Answer]  # the answer to the image of a path


def run(load: Callable[[Path], Predict], needed: Sequence[str] = ()) -> None:
    """Run an adapter's command line; `load` gets the folder of --files and returns what answers an image.

    `needed` are the files that must be inside; the message for one that is missing names it.
    """
    args = _parse_args(bool(needed))
    folder = args.files or Path()
    missing = [name for name in needed if not (folder / name).exists()]
    if missing:
        raise SystemExit(
            f"--files {folder} lacks {missing[0]}. Put the peer's own files there: {', '.join(needed)}."
        )
    predict = load(folder)
    if args.photo:
        print(time_photo(predict, args.photo))
    else:
        answer_list(predict, args.listed, args.out)


def load_package(name: str, install: str) -> Any:
    """Import a module of the peer; ends with what to install where it is absent."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SystemExit(f"This environment has no {error.name}. Install the peer: {install}") from error


def answer_list(predict: Predict, listed: Path, out: Path) -> None:
    """Write the answers to all images of a list."""
    with listed.open(newline="", encoding="utf-8") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "found", "predicted_age", "prob_young", "prob_middle", "prob_old"])
        for path in paths:
            answer = predict(path)
            writer.writerow([path, answer.found, answer.years, *(answer.probs or ("",) * 3)])


def time_photo(predict: Predict, photo: str) -> float:
    """Median milliseconds of one photo."""
    times = []
    for _ in range(ROUNDS + WARM_UP):
        start = time.perf_counter()
        predict(photo)
        times.append(time.perf_counter() - start)
    return statistics.median(times[WARM_UP:]) * 1e3


def share_out(brackets: Sequence[tuple[int, int]], shares: Sequence[float]) -> tuple[float, ...]:
    """Probabilities of the three age groups from those of brackets of years, ends included.

    A bracket gives each of its years the same share; those below YOUNG go to YOUNG.
    """
    probs = [0.0, 0.0, 0.0]
    for (first, last), share in zip(brackets, shares, strict=True):
        for year in range(first, last + 1):
            probs[(year >= BOUNDS[1]) + (year >= BOUNDS[2])] += share / (last - first + 1)
    total = sum(probs)
    return tuple(p / total for p in probs)


def mean_years(brackets: Sequence[tuple[int, int]], shares: Sequence[float]) -> float:
    """Expected age from the brackets' middles."""
    middles = [(first + last + 1) / 2 for first, last in brackets]
    return sum(m * s for m, s in zip(middles, shares, strict=True)) / sum(shares)


def _parse_args(needs_files: bool) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=Path, required=needs_files, help="folder of the peer's own files")
    parser.add_argument("--photo", help="time one photo")
    parser.add_argument("listed", nargs="?", type=Path, help="csv with a column path")
    parser.add_argument("out", nargs="?", type=Path, help="csv to write")
    args = parser.parse_args()
    if not (args.photo or args.out):
        parser.error("give LIST.csv OUT.csv, or --photo PHOTO.jpg")
    return args
