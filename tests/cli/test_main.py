import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from threeages.data.manifest import load_manifest


def _run(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from threeages.cli.main import main; main()", *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)


def test_help_and_import_stay_light() -> None:
    code = (
        "import sys, threeages.cli.main\n"
        "print([m for m in ('torch', 'matplotlib', 'sklearn', 'onnxruntime', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_and_help() -> None:
    assert _run("--version").stdout.strip() == version("threeages")
    assert "YOUNG, MIDDLE or OLD" in _run("--help").stdout


def test_a_bad_file_is_a_row_and_exit_code_1(bad_images: dict[str, Path], faces_csv: Path) -> None:
    good = str(load_manifest(faces_csv).files()[0])
    done = _run("predict", good, str(bad_images["truncated"]), "--no-detect", "--jsonl")
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["ok", "truncated"]
    assert done.returncode == 1
    assert _run("predict", "-", "--no-detect", "--csv", stdin=good).returncode == 0


def test_images_of_one_person_get_an_answer_together(faces_csv: Path) -> None:
    one, two = map(str, load_manifest(faces_csv).files()[:2])
    done = _run("predict", one, two, "--no-detect", "--together", "--csv")
    assert done.returncode == 0, done.stderr
    header, *_, last = (line.split(",") for line in done.stdout.splitlines())
    found = dict(zip(header, last, strict=True))
    assert (found["path"], found["status"], found["x1"]) == ("together", "ok", "")
    assert "together" in _run("predict", one, two, "--no-detect", "--together").stdout


def test_the_table_says_why_there_is_no_answer(bad_images: dict[str, Path], tmp_path: Path) -> None:
    odd = tmp_path / "[red]odd.jpg"
    odd.write_bytes(b"")
    done = _run("predict", str(odd), str(bad_images["too_large"]), "--no-detect")
    assert done.returncode == 1
    assert "[red]odd.jpg: The file has no bytes." in done.stdout
    assert "40000x40000" in done.stdout or "too many pixels" in done.stdout
    assert "2 of 2 images" in done.stderr


def test_evaluate_writes_the_report_and_counts_what_failed(tmp_path: Path, faces_csv: Path) -> None:
    text = faces_csv.read_text().splitlines()
    (tmp_path / "a.csv").write_text(
        "\n".join([*text, "none.jpg,OLD,60,x", f"{text[1].split(',')[0]},elder,3,x"])
    )
    out = tmp_path / "out"
    done = _run(
        "evaluate",
        "--manifest",
        str(tmp_path / "a.csv"),
        "--root",
        str(faces_csv.parent),
        "--out",
        str(out),
        "--no-detect",
    )
    assert done.returncode == 1, done.stderr
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["n"] == 120
    assert metrics["failed"] == {"missing": 1, "bad_label": 1}
    assert {"metrics.json", "predictions.csv", "confusion.png", "reliability.png"} <= {
        p.name for p in out.iterdir()
    }
    again = _run(
        "judge",
        str(out / "predictions.csv"),
        "--out",
        str(tmp_path / "again"),
        "--table",
        str(tmp_path / "t.csv"),
    )
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "again" / "metrics.json").read_text())["accuracy"] == metrics["accuracy"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["predict", "."], "holds no images"),
        (["evaluate", "--manifest", "none.csv", "--out", "x"], "none.csv"),
        (["train", "none.csv", "--out", "x", "--recipe", "other"], "other"),
        (["data", "import", "nothing-here", "--out", "x.csv"], "nothing-here"),
        (["predict", "a.jpg", "--model", "none.onnx"], "none.onnx"),
    ],
)
def test_errors_are_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = _run(*args)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
