"""`predict --out` as it is typed; SIGKILL in the middle."""

import csv
import io
import json
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from threeages.data.manifest import load_manifest

RunMain = Any
PREDICT = [sys.executable, "-m", "threeages", "predict", "--no-detect"]


def _names(path: Path) -> list[str]:
    return [json.loads(line)["path"] for line in path.read_text().splitlines()]


@pytest.fixture
def files(faces_csv: Path) -> list[Path]:
    return load_manifest(faces_csv).files()[:12]


@pytest.fixture
def listing(files: list[Path], tmp_path: Path) -> Path:
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{file}\n" for file in files))
    return path


def test_every_kind_of_input_has_a_row_an_image(
    run_main: RunMain, files: list[Path], listing: Path, tmp_path: Path, bad_images: dict[str, Path]
) -> None:
    tar = tmp_path / "a.tar"
    with tarfile.open(tar, "w") as archive:
        for file in (files[0], bad_images["empty"], files[1]):
            archive.add(file, file.name)
    table = tmp_path / "list.csv"
    table.write_text(f"path\n{files[2]}\n{bad_images['corrupt']}\n{tmp_path}/none.jpg\n{files[3]}\n")
    out = tmp_path / "out.csv"
    done = run_main("predict", tar, table, listing, files[0].parent, "--no-detect", "--out", out)
    assert done.code == 1
    assert done.out == ""
    assert "3 of" in done.err
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    status = {row["path"]: row["status"] for row in rows}
    assert len(status) == len(rows)
    assert status[f"{tar}/{files[1].name}"] == status[str(files[3])] == status[str(files[11])] == "ok"
    bad = (f"{tar}/empty.jpg", str(bad_images["corrupt"]), f"{tmp_path}/none.jpg")
    assert [status[name] for name in bad] == ["empty", "corrupt", "missing"]


def test_a_source_that_cannot_be_opened_leaves_nothing(
    run_main: RunMain, files: list[Path], tmp_path: Path
) -> None:
    table, out = tmp_path / "list.csv", tmp_path / "out.csv"
    table.write_text(f"photo\n{files[0]}\n")
    command = ("predict", table, "--no-detect", "--out", out)
    done = run_main(*command, "--column", "other")
    assert done.code == 2
    assert "other" in done.err
    assert not list(tmp_path.glob("*out.csv*.json"))
    assert not out.exists()
    assert run_main(*command, "--column", "photo").code == 0


def test_a_damaged_tar_costs_no_other_image(run_main: RunMain, files: list[Path], tmp_path: Path) -> None:
    tar, out = tmp_path / "a.tar", tmp_path / "out.jsonl"
    with tarfile.open(tar, "w") as archive:
        for file in files[:4]:
            archive.add(file, file.name)
    whole = tar.read_bytes()
    tar.write_bytes(whole[: len(whole) // 2])
    command = ("predict", tar, files[5], "--no-detect", "--out", out, "--resume")
    done = run_main(*command)
    assert done.code == 1
    assert f"Error: {tar} cannot be read to its end" in done.err
    before = _names(out)
    assert before[-1] == str(files[5])
    tar.write_bytes(whole)
    assert run_main(*command).code == 0
    assert _names(out)[: len(before)] == before
    assert sorted(_names(out)) == sorted([str(files[5]), *(f"{tar}/{file.name}" for file in files[:4])])


def test_listings_are_read_without_out_too(run_main: RunMain, listing: Path, files: list[Path]) -> None:
    done = run_main("predict", listing, "--no-detect", "--jsonl")
    assert done.code == 0
    assert [json.loads(line)["path"] for line in done.out.splitlines()] == list(map(str, files))


def test_shards_of_a_glob_of_listings(
    run_main: RunMain, listing: Path, files: list[Path], tmp_path: Path
) -> None:
    names = []
    for i in (1, 2):
        out = tmp_path / f"{i}.jsonl"
        assert (
            run_main(
                "predict", f"{listing.parent}/*.txt", "--no-detect", "--out", out, "--shard", f"{i}/2"
            ).code
            == 0
        )
        names += _names(out)
    assert sorted(names) == sorted(map(str, files))


def test_after_sigkill_every_image_has_one_row(files: list[Path], listing: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = [*PREDICT, "--out", str(out), "--resume"]
    running = subprocess.Popen([*command, "-"], stdin=subprocess.PIPE, text=True)
    assert running.stdin
    running.stdin.write("".join(f"{file}\n" for file in files[:5]))
    running.stdin.flush()
    deadline = time.monotonic() + 60
    while not (out.exists() and out.read_bytes().count(b"\n") >= 5) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.kill()
    running.communicate()
    assert len(_names(out)) == 5
    with out.open("a") as file:
        file.write('{"path": "torn')
    done = subprocess.run([*command, str(listing)], capture_output=True, text=True, check=True)
    assert _names(out) == list(map(str, files))
    assert "4 were answered" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume"], "--resume was given without --out"),
        (["--shard", "1/2"], "--shard was given without --out"),
        (["--out", "a.jsonl", "--csv"], "--csv was given with --out"),
        (["--out", "a.jsonl", "--together"], "--together was given with --out"),
        (["--out", "a.jsonl", "--shard", "3/2"], "The shard was '3/2'"),
        (["--out", "a.xlsx"], "--out was a.xlsx"),
        (["--engine", "ray"], "--engine was given without --out"),
        (["--out", "a.jsonl", "--engine", "spark"], "The engine was 'spark'"),
        (["--out", "a.jsonl", "--address", "head:6379"], "--address was given without --engine ray"),
        (
            ["--out", "a.jsonl", "--engine", "ray", "--device", "cuda"],
            "--device cuda was given with",
        ),
        (["--out", "a.jsonl", "--model", "none.onnx"], "There is no model none.onnx"),
    ],
)
def test_what_does_not_go_together_is_said(run_main: RunMain, options: list[str], message: str) -> None:
    done = run_main("predict", "a.jpg", "--no-detect", *options)
    assert done.code == 2
    assert message in done.err


def test_the_images_of_a_list_are_answered_from_a_root(
    run_main: RunMain, files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{files[0].name}\n"))
    out = tmp_path / "out.jsonl"
    assert run_main("predict", "-", "--no-detect", "--root", files[0].parent, "--out", out).code == 0
    assert _names(out) == [str(files[0])]
