import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from threeages.cli.main import app
from threeages.data.manifest import load_manifest
from threeages.errors import ConfigError


def test_images_of_one_identity_get_an_answer_together(faces_csv: Path) -> None:
    one, two = map(str, load_manifest(faces_csv).files()[:2])
    done = CliRunner().invoke(app, ["predict", one, two, "--no-detect", "--together", "--csv"])
    assert done.exit_code == 0, done.output
    *_, last = csv.DictReader(done.stdout.splitlines())
    assert (last["path"], last["status"], last["x1"]) == ("together", "ok", "")
    assert "together" in CliRunner().invoke(app, ["predict", one, two, "--no-detect", "--together"]).stdout


def test_records_are_written_in_one_form_only() -> None:
    done = CliRunner().invoke(app, ["predict", "a.jpg", "--jsonl", "--csv"])
    assert isinstance(done.exception, ConfigError)
    assert "Give one of them" in str(done.exception)


def test_brackets_of_ages_are_answered(faces_csv: Path) -> None:
    one = str(load_manifest(faces_csv).files()[0])
    arguments = ["predict", one, "--no-detect", "--brackets", "13,18"]
    done = CliRunner().invoke(app, [*arguments, "--csv"])
    assert done.exit_code == 0, done.output
    (row,) = csv.DictReader(done.stdout.splitlines())
    shares = [float(row[name]) for name in ("prob_0_12", "prob_13_17", "prob_18_up")]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    (line,) = CliRunner().invoke(app, [*arguments, "--jsonl"]).stdout.splitlines()
    assert list(json.loads(line)["brackets"].values()) == pytest.approx(shares)
    shown = CliRunner().invoke(app, arguments).stdout
    assert all(text in shown for text in ("0-12", "13-17", "18+", f"{shares[2]:.2f}"))
    plain = CliRunner().invoke(app, ["predict", one, "--no-detect", "--jsonl"]).stdout
    assert "brackets" not in json.loads(plain)
    bad = CliRunner().invoke(app, ["predict", one, "--brackets", "18,13"])
    assert isinstance(bad.exception, ConfigError)
    assert "rising" in bad.exception.hint


def test_the_table_says_why_there_is_no_answer(bad_images: dict[str, Path], tmp_path: Path) -> None:
    odd = tmp_path / "[red]odd.jpg"
    odd.write_bytes(b"")
    done = CliRunner().invoke(app, ["predict", str(odd), str(bad_images["too_large"]), "--no-detect"])
    assert done.exit_code == 1
    assert "[red]odd.jpg: The file has no bytes." in done.stdout
    assert "40000x40000" in done.stdout or "too many pixels" in done.stdout
    assert "2 of 2 images" in done.stderr


def test_pictures_are_saved_and_sorted(faces_csv: Path, bad_images: dict[str, Path], tmp_path: Path) -> None:
    one, bad = str(load_manifest(faces_csv).files()[0]), str(bad_images["empty"])
    arguments = [
        "--no-detect",
        "--csv",
        "--save",
        str(tmp_path / "drawn"),
        "--sort",
        str(tmp_path / "sorted"),
    ]
    done = CliRunner().invoke(app, ["predict", one, bad, *arguments])
    assert done.exit_code == 1
    first, second = csv.DictReader(done.stdout.splitlines())
    assert (first["status"], second["status"]) == ("ok", "empty")
    assert [p.name for p in (tmp_path / "drawn").iterdir()] == [Path(one).name]
    assert (tmp_path / "sorted" / first["age_group"] / Path(one).name).read_bytes() == Path(one).read_bytes()
    assert (tmp_path / "sorted" / "unreadable" / Path(bad).name).exists()
    assert "1 annotated copies" in done.stderr
    assert "unreadable 1" in done.stderr


def test_link_needs_sort(faces_csv: Path) -> None:
    done = CliRunner().invoke(app, ["predict", str(load_manifest(faces_csv).files()[0]), "--link"])
    assert done.exit_code != 0
    assert "--sort" in str(done.exception) + done.output
