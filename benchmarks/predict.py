"""`threeages predict` as a user starts it:   python benchmarks/predict.py [--images 5000] [--rounds 7]."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import add_row, load_faces

from threeages.demo import find_portraits

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
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    photo = str(find_portraits()[0])
    run(photo)  # the files are then in the page cache
    seconds = statistics.median(run(photo)[0] for _ in range(args.rounds))
    add_row("predict", "one photo, process start included", "s", seconds, details=f"median of {args.rounds}")
    with tempfile.TemporaryDirectory() as name:
        manifest, origin = load_faces(args.images, Path(name))
        crops = Path(name) / "crops"
        peaks = {}
        for count in (len(manifest) // 5, len(manifest)):
            folder = crops / str(count)
            folder.mkdir(parents=True)
            for i, file in enumerate(manifest.files()[:count]):
                (folder / f"{i}{file.suffix}").symlink_to(file)
            seconds, peaks[count], records = run(str(folder), "--no-detect")
            assert records == count
        few, many = peaks.values()
        details = f"{len(manifest)} {origin}, --no-detect, process start included"
        add_row("predict", "folder of crops", "images/s", len(manifest) / seconds, details=details)
        add_row(
            "predict",
            "peak resident memory, folder of crops",
            "MiB",
            many,
            other=("a fifth of the images", few),
            ratio=many / few,
            details=details,
        )


if __name__ == "__main__":
    main()
