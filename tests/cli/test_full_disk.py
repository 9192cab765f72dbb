"""Every command with every output on a full disk, or one that can only be read: one message, nothing half."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from threeages.cli.main import list_commands
from threeages.data.manifest import load_manifest
from threeages.inference.runtime import OnnxModel, default_model_path

RunMain = Callable[..., Any]  # of conftest: code, out and err of a command
SmallDisk = Callable[[int], Path]
BLOCK = 4096
TRAINS = "tests/training, tests/studies: its run folder, caches and weights"
# What each command writes: DISK stands for the full one; or where that is tested.
WRITES: dict[str, list[tuple[str, ...]] | str] = {
    "threeages predict": [
        ("{photos}", "--no-detect", "--save", "DISK/out"),
        ("{photos}", "--no-detect", "--sort", "DISK/out"),
        ("{photos}", "--no-detect", "--csv", "--sort", "DISK/out", "--link"),
    ],
    "threeages video": [("{video}", "--out", "DISK/out.mp4"), ("{video}", "--out", "DISK/out.avi")],
    "threeages serve": "it writes no file: tests/server/test_limits.py",
    "threeages demo": [("--out", "DISK/out")],
    "threeages train": TRAINS,
    "threeages distill": TRAINS,
    "threeages export": [("{run}", "--out", "DISK/out.onnx")],
    "threeages evaluate": [
        ("{predictions}", "--out", "DISK/out"),
        ("{predictions}", "--out", "{elsewhere}", "--table", "DISK/out.csv"),
    ],
    "threeages compare": "it prints: below, with those that print",
    "threeages explain": [("{photo}", "--no-detect", "--out", "DISK/out")],
    "threeages sheet": [("{predictions}", "--root", "{photos}", "--out", "DISK/out.html")],
    "threeages identity-probe": "it prints, and adds rows to a csv as evaluate --table does",
    "threeages report": [("{predictions}", "--out", "DISK/out")],
    "threeages monitor": [
        ("{predictions}", "--target-error", "0.9", "--min-confidence", "0.5", "--out", "DISK/out.json")
    ],
    "threeages thresholds": [("{predictions}", "--out", "DISK/out.json")],
    "threeages card": [("--set", "drawn={predictions}", "--model", "default", "--out", "DISK/out.md")],
    "threeages study": TRAINS,
    "threeages cross-source": TRAINS,
    "threeages tune": TRAINS,
    "threeages ensemble": "it writes the report that evaluate writes",
    "threeages push": "it writes no file",
    "threeages pull": "tests/hub/test_push_pull.py",
    "threeages doctor": "it prints: tests/cli/test_doctor.py",
    "threeages bundle": "tests/offline/test_bundle.py",
    "threeages models": "it prints",
    "threeages models fetch": "tests/inference/test_named.py",
    "threeages data import": [
        ("{photos}/faces.csv", "--out", "DISK/out.csv"),
        ("{photos}/faces.csv", "--out", "DISK/out.parquet"),
        ("{archive}", "--out", "{elsewhere}/out.csv", "--cache-dir", "DISK/out"),
    ],
    "threeages data merge": [("{photos}/faces.csv", "--out", "DISK/out.csv")],
    "threeages data audit": [("{photos}/faces.csv", "--out", "DISK/out")],
    "threeages data review": "it writes decisions: tests/data/test_corrections.py",
    "threeages data split": "it writes caches: tests/data/test_cache.py",
    "threeages data leakage": [
        (
            "{photos}/faces.csv",
            "--face-model",
            "none",
            "--cache-dir",
            "{elsewhere}/cache",
            "--out",
            "DISK/out",
        )
    ],
    "threeages data cache": "it only deletes",
}
CASES = [
    pytest.param(command, words, id=" ".join((command, *words)).removeprefix("threeages "))
    for command, found in WRITES.items()
    if not isinstance(found, str)
    for words in found
]


def _fill(disk: Path, leave: int = 0) -> Path:
    """Fill a disk but for some bytes; the file that does so."""
    file = disk / "filler"
    with file.open("wb", buffering=0) as opened:
        while True:
            try:
                opened.write(bytes(BLOCK))
            except OSError:
                break
        opened.truncate(max(0, opened.tell() - leave))
    return file


@pytest.fixture(scope="module")
def places(
    faces_csv: Path, predictions_csv: Path, small_video: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    from threeages.models.classifier import create_classifier
    from threeages.models.registry import create_signature
    from threeages.training.checkpoint import save_checkpoint

    folder = tmp_path_factory.mktemp("places")
    (folder / "run").mkdir()
    save_checkpoint(folder / "run" / "best.ckpt", create_classifier(create_signature("cnn", 48)))
    archive = shutil.make_archive(str(folder / "faces"), "zip", faces_csv.parent)
    found = {"run": folder / "run", "archive": Path(archive), "elsewhere": folder / "elsewhere"}
    found["photo"] = load_manifest(faces_csv).files()[0]
    return found | {"photos": faces_csv.parent, "predictions": predictions_csv, "video": small_video}


def _fill_in(command: str, words: tuple[str, ...], places: dict[str, Path], disk: Path) -> list[str]:
    found = [word.format(**places).replace("DISK", str(disk)) for word in words]
    return [*command.split()[1:], *found]


def _check_message(ended: Any, disk: Path, reason: str) -> None:
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err
    (message,) = [line for line in ended.err.splitlines() if line.startswith("Error: ")]
    assert reason in message
    assert str(disk) in message
    assert ended.err.splitlines()[-1].startswith("  ")  # what to do next


def _is_whole(file: Path) -> bool:
    ends = {".json": b"}\n", ".html": b"</html>\n", ".csv": b"\n", ".md": b"\n", ".parquet": b"PAR1"}
    ends |= {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9"}
    return file.read_bytes().endswith(ends[file.suffix])


def test_every_command_is_in_the_table() -> None:
    assert WRITES.keys() == list_commands().keys()


@pytest.mark.parametrize("blocks", [0, 5])
@pytest.mark.parametrize(("command", "words"), CASES)
def test_a_full_disk_is_one_message_and_the_next_start_ends_well(
    command: str,
    words: tuple[str, ...],
    blocks: int,
    places: dict[str, Path],
    small_disk: SmallDisk,
    run_main: RunMain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("THREEAGES_DATA", str(places["elsewhere"]))  # the demo draws its faces
    disk = small_disk(4)
    filler = _fill(disk, blocks * BLOCK)
    arguments = _fill_in(command, words, places, disk)
    ended = run_main(*arguments)
    if blocks == 0 or ended.code:
        _check_message(ended, disk, "the disk is full")
        assert " free" in ended.err
    left = [file for file in disk.rglob("*") if file.is_file() and file != filler]
    # an empty file a lock
    left = [file for file in left if file.parent.name != ".locks" and file.name != ".lock"]
    assert all(map(_is_whole, left)), left
    assert not [file for file in disk.rglob(".*") if file.name not in {".locks", ".lock"}]
    if "demo" in command:  # what follows trains
        return
    filler.unlink()
    again = run_main(*arguments)
    assert again.code == 0, again
    assert list(disk.rglob("out*"))


@pytest.mark.parametrize(("command", "words"), CASES)
def test_a_disk_that_can_only_be_read_is_one_message(
    command: str,
    words: tuple[str, ...],
    places: dict[str, Path],
    small_disk: SmallDisk,
    run_main: RunMain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("THREEAGES_DATA", str(places["elsewhere"]))
    disk = small_disk(1)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    ended = run_main(*_fill_in(command, words, places, disk))
    _check_message(ended, disk, "Read-only file system")


def test_thresholds_that_do_not_fit_leave_the_model_as_it_was(
    predictions_csv: Path, small_disk: SmallDisk, run_main: RunMain
) -> None:
    disk = small_disk(8)
    model = shutil.copy(default_model_path(), disk / "model.onnx")
    _fill(disk)
    _check_message(run_main("thresholds", predictions_csv, "--model", model), disk, "it needs 5.6")
    assert OnnxModel(model).signature == OnnxModel(default_model_path()).signature
    assert not list(disk.rglob(".*"))


PRINTS = {
    "predict --jsonl": ("predict", "{photos}", "--no-detect", "--jsonl"),
    "predict --csv": ("predict", "{photos}", "--no-detect", "--csv"),
    "predict": ("predict", "{photos}", "--no-detect"),
    "compare": ("compare", "{predictions}", "{predictions}"),
    "help": ("predict", "--help"),
}


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("name", PRINTS)
def test_a_full_disk_under_stdout_is_one_message(
    name: str, unbuffered: str, places: dict[str, Path], small_disk: SmallDisk
) -> None:
    disk = small_disk(1)
    _fill(disk, 0 if name in {"compare", "help"} else 2 * BLOCK)
    command = [sys.executable, "-m", "threeages", *(word.format(**places) for word in PRINTS[name])]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    out = disk / "answers"
    with out.open("wb") as stdout:
        done = subprocess.run(
            command,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            timeout=300,
            check=False,
        )
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if not line.startswith("Passed over")]
    assert errors[0].startswith(f"Error: Cannot write {out}: the disk is full; {disk} has ")
    assert len(errors) == 2
    if name == "predict --jsonl":
        assert [json.loads(line)["path"] for line in out.read_text().splitlines()]
    if name == "predict --csv":
        lines = out.read_text().splitlines()
        assert len(lines) > 2
        assert {line.count(",") for line in lines[:2]} == {lines[0].count(",")}
        assert out.read_bytes().endswith(b"\n")


def test_answers_are_added_behind_what_a_file_holds(places: dict[str, Path], tmp_path: Path) -> None:
    photo = load_manifest(places["photos"] / "faces.csv").files()[0]
    out = tmp_path / "answers.jsonl"
    out.write_text("first\n")
    with out.open("ab") as stdout:
        command = [sys.executable, "-m", "threeages", "predict", str(photo), "--no-detect", "--jsonl"]
        subprocess.run(command, stdout=stdout, timeout=300, check=True)
    first, second = out.read_text().splitlines()
    assert first == "first"
    assert json.loads(second)["path"] == str(photo)
