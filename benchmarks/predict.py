"""`threeages predict` as a user starts it, and one photo in a running process.

python benchmarks/predict.py [--images 5000] [--photos 2000] [--rounds 7]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import add_row, load_faces, make_photo

from threeages.demo import find_portraits
from threeages.predict import load_predictor

COMMAND = [sys.executable, "-c", "from threeages.cli import main; main()", "predict", "--jsonl"]
UNIT = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes there, in KiB elsewhere


def run(*args: str) -> tuple[float, float, int]:
    """Seconds and peak MiB of one whole process, and the records it wrote."""
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        process = subprocess.Popen([*COMMAND, *args], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if os.waitstatus_to_exitcode(status):
            raise SystemExit(f"threeages predict {' '.join(args)[:200]} failed.")
        out.seek(0)
        return seconds, usage.ru_maxrss / UNIT, sum(1 for _ in out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    photo = str(find_portraits()[0])
    run(photo)  # the files are then in the page cache
    seconds = statistics.median(run(photo)[0] for _ in range(args.rounds))
    add_row("predict", "one photo, process start included", "s", seconds, details=f"median of {args.rounds}")
    measure_photo(20 * args.rounds)
    with tempfile.TemporaryDirectory() as name:
        manifest, origin = load_faces(args.images, Path(name))
        crops = [(file.suffix, file) for file in manifest.files()]
        details = f"{len(manifest)} {origin}, --no-detect, process start included"
        measure_folder("folder of crops", crops, details, "--no-detect")
        photos = [Path(name) / f"{i}.jpg" for i in range(8)]
        for i, file in enumerate(photos):
            file.write_bytes(make_photo(i))
        details = f"{args.photos} JPEGs of 640x480 with one face, process start included"
        measure_folder("folder of photos", [(".jpg", photos[i % 8]) for i in range(args.photos)], details)


def measure_photo(rounds: int) -> None:
    predictor = load_predictor()
    photos = [make_photo(i) for i in range(8)]
    seconds = []
    for i in range(rounds):
        start = time.perf_counter()
        assert [record.box for record in predictor.predict([photos[i % 8]])]
        seconds.append(time.perf_counter() - start)
    details = f"JPEG of 640x480 with one face, median of {rounds}"
    add_row("predict", "photo, decode to answer", "ms", 1e3 * statistics.median(seconds), details=details)


def measure_folder(what: str, files: list[tuple[str, Path]], details: str, *options: str) -> None:
    """Images a second and peak memory of one process, beside the memory at a fifth of the images."""
    peaks = {}
    with tempfile.TemporaryDirectory() as name:
        for count in (len(files) // 5, len(files)):
            folder = Path(name) / str(count)
            folder.mkdir()
            for i, (suffix, file) in enumerate(files[:count]):
                (folder / f"{i}{suffix}").symlink_to(file)
            seconds, peaks[count], records = run(str(folder), *options)
            assert records >= count
    few, many = peaks.values()
    add_row("predict", what, "images/s", len(files) / seconds, details=details)
    add_row(
        "predict",
        f"peak resident memory, {what}",
        "MiB",
        many,
        other=("a fifth of the images", few),
        ratio=many / few,
        details=details,
    )


if __name__ == "__main__":
    main()
