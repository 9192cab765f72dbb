"""`threeages predict` as a user starts it; one photo, and crops, in a running process.

python benchmarks/predict.py [--images 5000] [--photos 2000] [--rounds 7]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import add_row, load_faces, make_photo

from threeages.demo import find_portraits
from threeages.faces.process import configure_process
from threeages.inference.predictor import load_predictor

# VmHWM is the peak of this program alone; the usage that wait4 gives begins with the peak of who started it
PROGRAM = """
import atexit, sys
from pathlib import Path
from threeages.cli.main import main

def say_peak():
    print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0], file=sys.stderr)

atexit.register(say_peak)
main()
"""
COMMAND = [sys.executable, "-c", PROGRAM, "predict", "--jsonl"]


def run(*args: str) -> tuple[float, float, int]:
    """Seconds and peak MiB of one whole process, and the records it wrote."""
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        done = subprocess.run([*COMMAND, *args], stdout=out, stderr=subprocess.PIPE, text=True, check=False)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"threeages predict {' '.join(args)[:200]} failed: {done.stderr}")
        out.seek(0)
        return seconds, int(done.stderr.split()[-1]) / 2**10, sum(1 for _ in out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    configure_process()  # as the command line does
    photo = str(find_portraits()[0])
    run(photo)  # the files are then in the page cache
    seconds = statistics.median(run(photo)[0] for _ in range(args.rounds))
    add_row("predict", "one photo, process start included", "s", seconds, details=f"median of {args.rounds}")
    measure_photo(20 * args.rounds)
    with tempfile.TemporaryDirectory() as name:
        manifest, origin = load_faces(args.images, Path(name))
        crops = [(file.suffix, file) for file in manifest.files()]
        measure_crops([file for _, file in crops], f"{len(manifest)} {origin}, files to answers")
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


def measure_crops(files: list[Path], details: str) -> None:
    """Images a second in one process, median of three."""
    predictor, rates = load_predictor(detect=False), []
    for _ in range(3):
        start = time.perf_counter()
        records = sum(1 for _ in predictor.predict(files))
        rates.append(records / (time.perf_counter() - start))
    details = f"{details}, median of 3"
    add_row("predict", "crops in a running process", "images/s", statistics.median(rates), details=details)


def measure_folder(what: str, files: list[tuple[str, Path]], details: str, *options: str) -> None:
    """Images a second, median of three processes, and peak memory beside that at a fifth of the images."""
    peaks, rates = {}, []
    with tempfile.TemporaryDirectory() as name:
        for count in (len(files) // 5, len(files)):
            folder = Path(name) / str(count)
            folder.mkdir()
            for i, (suffix, file) in enumerate(files[:count]):
                (folder / f"{i}{suffix}").symlink_to(file)
            for _ in range(3):
                seconds, peaks[count], records = run(str(folder), *options)
                assert records >= count
                rates.append(count / seconds)
    few, many = peaks.values()
    add_row("predict", what, "images/s", statistics.median(rates[3:]), details=f"{details}, median of 3")
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
