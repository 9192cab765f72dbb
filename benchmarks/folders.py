"""`threeages predict --out` on many images: memory, kill -9 in the middle, shards.

python benchmarks/folders.py [--images 60000] [--few 20000] [--kills 3] [--seed 0] [--side 48]
python benchmarks/folders.py --only kills --inputs folder --outputs jsonl --few 1000000 --kills 1

The images are links to a few hundred drawn faces, each under a name of its own; the model is a tiny one with
random weights, so that what is measured is reading, writing and remembering. Peaks are those of the process
(VmHWM). Nothing is extrapolated: the rows say how many images were answered.
"""

import argparse
import itertools
import json
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import SCALE, add_row
from PIL import Image
from predict import PROGRAM

from threeages.data.synthetic import draw_face
from threeages.files.arrow import import_arrow

FILES, PER_FOLDER, SHARDS = 300, 1000, 4
COMMAND = [sys.executable, "-c", PROGRAM, "predict", "--no-detect"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--few", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", type=int, default=48, help="of the images, in pixels")
    parser.add_argument("--only", choices=("memory", "kills", "shards"))
    parser.add_argument("--inputs", nargs="*", choices=INPUTS, help="default: all; to kill: a tar")
    parser.add_argument("--outputs", nargs="*", choices=OUTPUTS, default=list(OUTPUTS), help="to kill")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(folder / "tiny.onnx")
        faces = write_faces(folder / "drawn", args.side)
        if args.only in {None, "memory"}:
            measure_memory(model, faces, folder, args.few, args.images, args.inputs or list(INPUTS))
        if args.only in {None, "kills"}:
            source = write_source(faces, folder, (args.inputs or ["tar"])[0], args.few)
            for kind in args.outputs:
                kill_and_resume(model, source, folder / OUTPUTS[kind], args.few, args.kills, args.seed)
        if args.only in {None, "shards"}:
            answer_shards(model, faces, folder, args.few)


def write_model(path: Path) -> Path:
    import torch

    from threeages.export.to_onnx import export_onnx
    from threeages.models.classifier import SIGNATURES, create_classifier

    torch.manual_seed(0)
    export_onnx(create_classifier(replace(SIGNATURES["cnn"], input_size=48)).eval(), path)
    return path


def write_faces(folder: Path, side: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{i}.jpg" for i in range(FILES)]
    for i, path in enumerate(paths):
        face = Image.fromarray(draw_face(20 + i % 60, i, np.random.default_rng(i)))
        face.resize((side, side)).save(path, quality=90)
    return paths


def write_links(faces: list[Path], folder: Path, count: int) -> Path:
    """A folder of `count` links, PER_FOLDER in each subfolder."""
    for i, face in zip(range(count), itertools.cycle(faces)):
        place = folder / f"{i // PER_FOLDER:05}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:07}.jpg").symlink_to(face)
    return folder


def write_list(faces: list[Path], folder: Path, count: int) -> Path:
    """A text with the paths of `count` links."""
    links = write_links(faces, folder, count)
    path = folder.with_suffix(".txt")
    path.write_text("".join(f"{image}\n" for image in sorted(links.rglob("*.jpg"))))
    return path


def write_tar(faces: list[Path], path: Path, count: int) -> Path:
    with tarfile.open(path, "w") as tar:
        for i, face in zip(range(count), itertools.cycle(faces)):
            tar.add(face, f"{i:07}.jpg")
    return path


def write_parquet(faces: list[Path], path: Path, count: int) -> Path:
    arrow, parquet = import_arrow()
    contents = [face.read_bytes() for face in faces]
    schema = arrow.schema([("image", arrow.binary())])
    with parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, count, PER_FOLDER):
            rows = [contents[i % len(contents)] for i in range(start, min(start + PER_FOLDER, count))]
            writer.write_table(arrow.table({"image": rows}, schema))
    return path


INPUTS = {
    "folder": (write_links, "folder-{}"),
    "listing": (write_list, "listing-{}"),
    "tar": (write_tar, "{}.tar"),
    "parquet": (write_parquet, "{}.parquet"),
}
OUTPUTS = {"jsonl": "killed.jsonl", "csv": "killed.csv", "parquet": "killed"}


def write_source(faces: list[Path], folder: Path, kind: str, count: int) -> Path:
    write, name = INPUTS[kind]
    return write(faces, folder / name.format(count), count)


def measure_memory(
    model: Path, faces: list[Path], folder: Path, few: int, many: int, kinds: list[str]
) -> None:
    """Peak memory and images a second of each kind of input, beside those of fewer images."""
    peaks: dict[str, list[float]] = {}
    rates: dict[str, float] = {}
    for count in (few, many):
        for kind in kinds:
            source = write_source(faces, folder, kind, count)
            out = folder / ("parts" if kind == "parquet" else f"{kind}.jsonl")
            seconds, peak = answer(model, source, folder / f"out-{count}" / out.name)
            check_rows(folder / f"out-{count}" / out.name, count)
            peaks.setdefault(kind, []).append(peak)
            rates[kind] = count / seconds
            print(f"{kind} {count}: {seconds:.0f} s, {peak:.1f} MiB")
    for kind, (small, large) in peaks.items():
        other = (f"{few} images", small)
        add_row("predict --out", f"{kind} of {many} images", "images/s", rates[kind],
                details="tiny model, --no-detect, process start included", results=SCALE)  # fmt: skip
        add_row("predict --out", f"peak resident memory, {kind} of {many} images", "MiB", large, other=other,
                ratio=large / small, details="tiny model, --no-detect", results=SCALE)  # fmt: skip


def answer(model: Path, source: Path, out: Path, *options: str) -> tuple[float, float]:
    """Seconds and peak MiB of one whole process."""
    start = time.perf_counter()
    command = [*COMMAND, str(source), "--model", str(model), "--out", str(out), *options]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"predict failed: {done.stderr}")
    return time.perf_counter() - start, int(done.stderr.split()[-1]) / 2**10


def kill_and_resume(model: Path, source: Path, out: Path, count: int, kills: int, seed: int) -> None:
    """Kill the command with SIGKILL when a random share is answered, resume it to its end, count the rows."""
    rng = random.Random(seed)
    shares = sorted(rng.uniform(0.1, 0.9) for _ in range(kills))
    command = [*COMMAND, str(source), "--model", str(model), "--out", str(out), "--resume"]
    row = measure_row(model, source, out, count)
    for share in shares:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and count_answered(out, row) < share * count:
            time.sleep(0.05)
        process.kill()
        if process.wait() != -signal.SIGKILL:
            raise SystemExit("The command ended before it was killed: give more images.")
    _, peak = answer(model, source, out, "--resume")
    kind = out.suffix[1:] or "parquet"
    details = f"{source.suffix[1:] or 'folder'} of {count} images, seed {seed}; "
    details += f"killed with SIGKILL at {', '.join(f'{share:.0%}' for share in shares)}; "
    details += f"the resumed process took {peak:.0f} MiB"
    add_row("predict --out", f"images with other than one row after kill -9, {kind}", "images",
            check_rows(out, count), details=details, results=SCALE)  # fmt: skip


def measure_row(model: Path, source: Path, out: Path, count: int) -> float:
    """About the bytes of a row of the answers, by those of a hundredth."""
    part = out.with_name(f"part-{out.name}")
    answer(model, source, part, "--shard", "1/100")
    return 0 if part.is_dir() else part.stat().st_size / (count / 100)


def count_answered(out: Path, row: float) -> float:
    """About as many rows as are there; a parquet file appears whole."""
    if out.is_dir():
        _, parquet = import_arrow()
        return float(sum(parquet.read_metadata(file).num_rows for file in out.glob("*.parquet")))
    return out.stat().st_size / row if out.exists() else 0


def answer_shards(model: Path, faces: list[Path], folder: Path, count: int) -> None:
    """Answer the shards of a listing in processes at the same time, into one folder of parquet files."""
    source, out = write_list(faces, folder / "sharded", count), folder / "shards"
    command = [*COMMAND, str(source), "--model", str(model), "--out", str(out), "--shard"]
    running = [
        subprocess.Popen([*command, f"{i + 1}/{SHARDS}"], stderr=subprocess.DEVNULL) for i in range(SHARDS)
    ]
    if max(process.wait() for process in running):
        raise SystemExit("A shard failed.")
    rows = check_rows(out, count)
    details = f"listing of {count} images in {SHARDS} processes at once, one folder of parquet files"
    add_row("predict --out", "images with other than one row, shards", "images", rows, details=details,
            results=SCALE)  # fmt: skip


def check_rows(out: Path, count: int) -> int:
    """The number of images that have not exactly one row; raises SystemExit where there is any."""
    names = Counter(read_names(out))
    wrong = sum(number != 1 for number in names.values()) + abs(count - len(names))
    if wrong:
        raise SystemExit(f"{out}: {wrong} of {count} images have not exactly one row")
    return wrong


def read_names(out: Path) -> Iterator[str]:
    if out.is_dir():
        _, parquet = import_arrow()
        yield from parquet.read_table(out, columns=["path"]).column("path").to_pylist()
        return
    with out.open() as file:
        if out.suffix == ".csv":
            next(file)
        for line in file:
            yield line.split(",")[0] if out.suffix == ".csv" else json.loads(line)["path"]


if __name__ == "__main__":
    main()
