"""The commands that are killed, and what of their results is compared.

Every file that a command writes is compared byte for byte, but for what READERS and EXCLUDED say.
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from threeages.data.synthetic import write_face_set
from threeages.files.atomic import PART

TIMES = frozenset({"seconds", "images_per_second"})  # of metrics.csv, checkpoints and study.csv
ORIGIN = frozenset({"machine", "date", "commit"})  # of study.csv: midnight may pass during a run
EXCLUDED = {
    "search.db": "holds the times of the trials; search.csv holds their numbers, settings and values",
    "study.md": "holds seconds; study.csv holds the same numbers without them",
    "study.json": "holds the rows of study.csv with seconds, date and commit",
    "finished.json": "holds checksums of a study's runs, whose metrics.csv and best.ckpt hold times",
    "saved": "holds the pictures of stopped starts, too: predict writes over none, and numbers the new ones",
    ".lock": "is the empty file of a lock, which the system frees when its process ends",
    ".locks": "is a folder of such files",
}
UNREADABLE = "unreadable"
TRIALS = 3
# within an epoch the package saves once a minute, within a cache every few seconds; no case lasts so long,
# and none has images for more than one task of a worker process
SAVE_OFTEN = """
import runpy
from threeages.data import cache
from threeages.data.stored import partial
cache.CHUNK = 8
partial.SAVE_SECONDS = 0.0
"""
STEP_BY_STEP = f"""{SAVE_OFTEN}
from threeages.training import autosave
autosave.SAVE_SECONDS = 0.0
autosave.SAVE_SHARE = float("inf")
"""
RUN = """
runpy.run_module("threeages", run_name="__main__")
"""
CNN = {
    "model": "cnn", "input_size": 32, "options": {"filters": [8, 8], "kernels": [3, 3], "dense": 16},
    "epochs": 3, "batch_size": 8,
}  # fmt: skip
FROZEN = {
    **CNN, "options": {"filters": [8, 8, 8], "kernels": [3, 3, 3], "dense": 16}, "epochs": 2,
    "head_epochs": 2, "unfreeze": 1, "augmented_copies": 2, "ema": 0.9,
}  # fmt: skip


def no_check(folder: Path, whole: Path) -> list[str]:
    """Of most commands nothing is promised but that the next start resumes."""
    return []


@dataclass(frozen=True)
class Case:
    """A command of Python by its arguments, run in a folder of its own; its output goes to the file `stdout`.

    `check` is given that folder after every kill and at the end, and the folder of an undisturbed run; it
    names what is wrong.
    """

    name: str
    arguments: tuple[str, ...]
    stdout: str = ""
    check: Callable[[Path, Path], list[str]] = no_check


def create_cases(folder: Path) -> dict[str, Case]:
    """The cases by name, on drawn faces that are written into `folder`."""
    faces = write_face_set(folder / "faces", identities=15, per_identity=2, size=48)
    recipes = {name: folder / f"{name}.json" for name in ("cnn", "frozen")}
    for path, settings in zip(recipes.values(), (CNN, FROZEN), strict=True):
        path.write_text(json.dumps(settings), encoding="utf-8")
    cache = ("--cache-dir", "cache")
    recipe, frozen = (str(path) for path in recipes.values())
    students = ("--model", "mobilenet_v1_face", "--weights", "random", "--input-size", "32")
    steps = ("--epochs", "2", "--batch-size", "16")
    studied = ("--recipes", "reference-cnn", "--folds", "1", "--epochs", "1")
    search = ("tune", str(faces), "--trials", str(TRIALS), "--epochs", "2", "--size", "76", "--out", "search")
    cases = (
        _create("train", "train", str(faces), "--recipe", recipe, "--out", "run", *cache),
        _create_often(
            "frozen features", STEP_BY_STEP, "train", str(faces), "--recipe", frozen, "--out", "run", *cache
        ),
        _create_often(
            "distill",
            STEP_BY_STEP,
            "distill",
            str(faces),
            *students,
            *steps,
            "--out",
            "a.safetensors",
            *cache,
        ),
        _create("study", "study", str(faces), *studied, "--out", "study", *cache),
        _create("tune", *search, *cache),
        _create("tune in 2 processes", *search, "--processes", "2", *cache),
        _create_often("pixel cache", SAVE_OFTEN, "data", "split", str(faces), *cache),
        replace(
            _create("predict", "predict", str(faces.parent), "--csv", "--save", "saved"),
            stdout="predictions.csv",
            check=check_predictions,
        ),
    )
    return {case.name: case for case in cases}


def _create(name: str, *arguments: str) -> Case:
    return Case(name, ("-m", "threeages", *arguments))


def _create_often(name: str, code: str, *arguments: str) -> Case:
    return Case(name, ("-c", code + RUN, *arguments))


def read_result(folder: Path) -> dict[str, str]:
    """A digest of every file below a folder by its path, without what changes from run to run."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() or not any(path.iterdir()))
    named = ((path.relative_to(folder), path) for path in paths)
    return {str(name): _read(path) for name, path in named if _is_compared(name)}


def check_predictions(folder: Path, whole: Path) -> list[str]:
    """Every whole line and every picture that a killed `predict` wrote is one of the undisturbed run."""
    lines, expected = (_read_lines(place / "predictions.csv") for place in (folder, whole))
    wrong = [line.decode() for line, other in zip(lines, expected, strict=False) if line != other]
    pictures, whole_pictures = (_read_pictures(place / "saved") for place in (folder, whole))
    wrong += [name for name, picture in pictures.items() if picture not in whole_pictures.values()]
    return [f"{name!r} is not as it should be" for name in wrong]


def _read_pictures(folder: Path) -> dict[str, bytes]:
    """The pictures that have their name, without those that were being written."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*") if path.is_file()}


def _read_lines(path: Path) -> list[bytes]:
    """The lines of a file that have their end."""
    return path.read_bytes().split(b"\n")[:-1]


def _is_compared(name: Path) -> bool:
    """Whether nothing on the path is left out; the part of a file, which must not stay, never is."""
    return name.suffix == PART or EXCLUDED.keys().isdisjoint(name.parts)


def _read(path: Path) -> str:
    if path.is_dir():
        return "an empty folder"
    try:
        return READERS.get(path.suffix, _digest_file)(path)
    except Exception as error:  # torch raises pickle, zip and runtime errors on damaged files
        return f"{UNREADABLE}: {error}"


def _digest_file(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=12).hexdigest()


def _digest_csv(path: Path) -> str:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [_drop(row) for row in csv.DictReader(file)]
    return hashlib.blake2b(repr(rows).encode(), digest_size=12).hexdigest()


def _digest_page(path: Path) -> str:
    """Of a report without its day and the seconds of its training."""
    text = re.sub(r'<span class="origin">.*?</span>', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _digest_checkpoint(path: Path) -> str:
    """Of weights, optimizer, history and settings; the file itself holds its name and the epochs' seconds."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    return hashlib.blake2b(repr(_drop(content)).encode(), digest_size=12).hexdigest()


def _drop(content: Any) -> Any:
    """Plain values without times and origin; a tensor becomes its type, shape and a digest of its bytes."""
    if isinstance(content, Mapping):
        return {key: _drop(value) for key, value in content.items() if key not in TIMES | ORIGIN}
    if isinstance(content, list | tuple):
        return [_drop(value) for value in content]
    if isinstance(content, torch.Tensor):
        values = content.contiguous().numpy().tobytes()
        return str(content.dtype), tuple(content.shape), hashlib.blake2b(values, digest_size=12).hexdigest()
    return content


READERS: dict[str, Callable[[Path], str]] = {
    ".ckpt": _digest_checkpoint,
    ".progress": _digest_checkpoint,
    ".csv": _digest_csv,
    ".html": _digest_page,
}
