"""`threeages predict --out` on Ray beside the cores of one machine, in turn.

python benchmarks/cluster.py [--images 6000] [--rounds 3]

The images are links to face crops, each under a name of its own; the model is the default one. Both engines
are started as commands, on all cores of this machine. Two rates are measured: of the whole command, and from
its first row to its last, as a cluster takes a few seconds to start.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from common import SCALE, add_row, load_faces
from folders import check_rows, write_list

COMMAND = [sys.executable, "-m", "threeages", "predict", "--no-detect"]
ENGINES = ("ray", "local")
POLL = 0.02  # seconds


class Rates(NamedTuple):
    """Images a second: of the whole command, and from its first row to its last."""

    whole: float
    running: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest, origin = load_faces(300, folder)
        listing = write_list([file.resolve() for file in manifest.files()], folder / "links", args.images)
        compare_engines(listing, folder, args.images, args.rounds, origin)


def compare_engines(listing: Path, folder: Path, images: int, rounds: int, origin: str) -> None:
    found: dict[str, list[Rates]] = {engine: [] for engine in ENGINES}
    for number in range(rounds):
        for engine in ENGINES if number % 2 else reversed(ENGINES):
            out = folder / f"{engine}-{number}.jsonl"
            found[engine].append(measure_command(listing, out, engine, images))
            print(f"{engine}: {found[engine][-1].whole:.1f} whole, {found[engine][-1].running:.1f} running")
    details = f"listing of {images} links to {origin}, default model, median of {rounds} in turn"
    for what, field in (("whole command", "whole"), ("from the first row to the last", "running")):
        ray, local = (
            statistics.median(getattr(rates, field) for rates in found[engine]) for engine in ENGINES
        )
        add_row("predict --engine ray", f"crops on one machine, {what}", "images/s", ray,
                other=("--engine local", local), ratio=ray / local, details=details,
                versions={"ray": version("ray")}, results=SCALE)  # fmt: skip


def measure_command(listing: Path, out: Path, engine: str, images: int) -> Rates:
    command = [*COMMAND, str(listing), "--out", str(out), "--engine", engine]
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (out.exists() and out.stat().st_size):
        time.sleep(POLL)
    first, before = time.perf_counter(), out.read_bytes().count(b"\n")
    last = first
    while process.poll() is None:
        size = out.stat().st_size
        time.sleep(POLL)
        last = time.perf_counter() if out.stat().st_size > size else last
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"predict failed: {process.communicate()[1]}")
    check_rows(out, images)
    return Rates(images / seconds, (images - before) / (last - first))


if __name__ == "__main__":
    main()
