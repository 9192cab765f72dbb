"""Where the time of one photo goes, from bytes to answer, beside an older commit in the same run.

python benchmarks/photo.py --base COMMIT [--rounds 100]

Two processes, one with the sources of this checkout and one with those of COMMIT, answer the same photos in
turn. Times are those of the processor: nothing waits and one thread does the work, so that on an idle machine
they are the time that passes, and other load does not count. Each is the median of its rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = 8
PARTS = (
    "decoding", "detection, network", "detection, rest", "alignment", "quality", "answer, network", "rest",
)  # fmt: skip
WHOLE = "bytes to answer"
Times = dict[str, float]  # seconds of each part and of the whole
Answer = dict[str, Any]  # a record
Side = Callable[[int], tuple[Times, Answer]]  # answers the photo of a number


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", required=True, help="commit to compare with")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "scale.csv", help="csv to write")
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)  # a process of this benchmark: photos
    args = parser.parse_args()
    if args.answer:
        answer_photos(args.answer)
        return
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        photos = write_photos(Path(name) / "photos")
        trees = ROOT / "src", extract_sources(args.base, Path(name) / "base")
        sides = [stack.enter_context(start_process(tree, photos)) for tree in trees]
        found, equal = measure(sides, args.rounds)
    kind = f"{PHOTOS} JPEGs of 640x480 with one face, the same answers to {equal}"
    details = f"{kind}, processor time, median of {args.rounds} rounds in turn"
    report(found, args.base, details, args.out)


def write_photos(folder: Path) -> Path:
    """The photos as files, so that both sides read the same bytes."""
    from common import make_photo

    folder.mkdir()
    for i in range(PHOTOS):
        (folder / f"{i}.jpg").write_bytes(make_photo(i))
    return folder


def extract_sources(commit: str, folder: Path) -> Path:
    """The folder src of a commit."""
    packed = subprocess.run(
        ["git", "archive", commit, "src"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    ).stdout
    folder.mkdir()
    with tempfile.TemporaryFile() as file:
        file.write(packed)
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            archive.extractall(folder, filter="data")
    return folder / "src"


@contextmanager
def start_process(tree: Path, photos: Path) -> Iterator[Side]:
    """A process on those sources; the function answers one photo there."""
    command = [sys.executable, __file__, "--base", "", "--answer", str(photos)]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        given, taken = process.stdin, process.stdout

        def answer(i: int) -> tuple[Times, Answer]:
            print(i, file=given, flush=True)
            times, record = json.loads(taken.readline())
            return times, record

        yield answer
        given.close()


def measure(sides: list[Side], rounds: int) -> tuple[list[list[list[Times]]], int]:
    """The times of every side, photo and round, in turn, and how many photos have the same answers.

    The first round of each photo warms up.
    """
    found: list[list[list[Times]]] = [[[] for _ in range(PHOTOS)] for _ in sides]
    equal = 0
    for i in range(PHOTOS):
        first, second = (side(i)[1] for side in sides)
        equal += first == second
    for _ in range(rounds):
        for i in range(PHOTOS):
            for side, times in zip(sides, found, strict=True):
                times[i].append(side(i)[0])
    return found, equal


def report(sides: list[list[list[Times]]], commit: str, details: str, out: Path) -> None:
    """Write the row of the whole and those of the parts: medians over the photos, and in the details means.

    Some photos are looked at twice: they count in the means.
    """
    from common import add_row

    medians = [
        [{part: statistics.median(t[part] for t in photo) for part in (WHOLE, *PARTS)} for photo in side]
        for side in sides
    ]
    whole = statistics.median(parts[WHOLE] for parts in medians[0])
    paired = f"median ratio of the pairs {statistics.median(find_ratios(*sides)):.3f}"
    for part in (WHOLE, *PARTS):
        values = [[parts[part] for parts in side] for side in medians]
        ours, base = (1e3 * statistics.median(side) for side in values)
        means = " and ".join(f"{1e3 * statistics.mean(side):.2f}" for side in values)
        note = f"{paired}; {details}" if part == WHOLE else f"{ours / whole / 1e3:.0%} of the whole"
        add_row(
            "photo", part, "ms", ours, other=(commit, base), ratio=ours / base,
            details=f"{note}; means {means}", results=out,
        )  # fmt: skip


def find_ratios(ours: list[list[Times]], base: list[list[Times]]) -> Iterator[float]:
    """Of every pair of wholes that were measured one after the other."""
    for photo, other in zip(ours, base, strict=True):
        for times, others in zip(photo, other, strict=True):
            yield times[WHOLE] / others[WHOLE]


def answer_photos(photos: Path) -> None:
    """Answer the photos whose numbers come in, and print the times of each: a process of its own."""
    from threeages.faces.process import configure_process

    configure_process()
    from threeages.inference.predictor import load_predictor

    content = [(photos / f"{i}.jpg").read_bytes() for i in range(PHOTOS)]
    clock = Clock(load_predictor(device="cpu"))
    for line in sys.stdin:
        print(json.dumps(clock.time(content[int(line)])), flush=True)


class Clock:
    """Times the parts of a prediction: the functions that `inference.prepare` calls, and both sessions."""

    def __init__(self, predictor: Any) -> None:
        from threeages.inference import prepare

        self._predictor, self._seconds = predictor, defaultdict[str, float](float)
        for name, part in (
            ("load_reduced", "decoding"), ("search_faces", "detection"), ("align_crop", "alignment"),
            ("find_rejection_reason", "quality"),
        ):  # fmt: skip
            setattr(prepare, name, self._timed(part, getattr(prepare, name)))
        for owner, part in (
            (predictor.preparer._detector, "detection, network"),
            (predictor.classifier.model, "answer, network"),
        ):
            owner._session = _Session(self._timed(part, owner._session.run))

    def time(self, photo: bytes) -> tuple[Times, Answer]:
        """Seconds of the whole and of each part for one photo, and its answer."""
        self._seconds.clear()
        start = time.thread_time()
        (record,) = self._predictor.predict(photo)
        whole = time.thread_time() - start
        assert record.status == "ok"
        found = {part: self._seconds[part] for part in PARTS}
        found["detection, rest"] = self._seconds["detection"] - found["detection, network"]
        found["rest"] = whole - sum(found.values())
        return found | {WHOLE: whole}, record.to_dict()

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._seconds[part] += time.thread_time() - start

        return timed


class _Session:
    """A session of ONNX Runtime of which only `run` is used."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run = run


if __name__ == "__main__":
    main()
