"""`threeages models`, and --model large where the model is and is not there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from threeages.bundled import CHECKSUMS
from threeages.data.manifest import load_manifest
from threeages.inference.named import LargeModel

RunMain = Callable[..., Any]  # of conftest: code, out and err of a command


def test_the_list_says_what_is_there(large_model: LargeModel, encoder_file: Path, run_main: RunMain) -> None:
    before = run_main("models")
    assert before.code == 0
    assert f" MB  verified ({CHECKSUMS['default.onnx']})" in before.out
    assert f"there is no {large_model.path}. Run: threeages models fetch large" in before.out
    assert "research use only" in before.out
    fetched = run_main("models", "fetch", "large", "--from", encoder_file)
    assert fetched.out.startswith(f"Written and verified: {large_model.path} (")
    again = run_main("models", "fetch", "large")  # no hub is asked
    assert again.out == f"The large model is there: {large_model.path}\n"
    (line,) = [line for line in run_main("models").out.splitlines() if line.startswith("large ")]
    assert "verified (" in line
    assert line.endswith(str(large_model.path))
    large_model.path.write_bytes(b"half")
    damaged = run_main("models")
    assert damaged.code == 0
    assert "Fetch it again: threeages models fetch large" in damaged.out


def test_only_the_large_model_is_fetched(run_main: RunMain) -> None:
    ended = run_main("models", "fetch", "default")
    assert (ended.code, ended.err) == (2, "Error: There is no model 'default' to fetch.\n  Allowed: large.\n")


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "{photo}", "--no-detect", "--jsonl"),
        ("video", "{video}", "--jsonl"),
        ("evaluate", "{manifest}", "--no-detect", "--out", "{out}"),
        ("card", "--set", "drawn={predictions}", "--out", "{out}/card.md"),
        ("serve", "--port", "0", "--workers", "1"),
    ],
    ids=lambda words: words[0],
)
def test_every_command_with_a_model_takes_the_large_one(
    words: tuple[str, ...],
    large_model: LargeModel,
    encoder_file: Path,
    faces_csv: Path,
    predictions_csv: Path,
    small_video: Path,
    tmp_path: Path,
    run_main: RunMain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = {"photo": load_manifest(faces_csv).files()[0], "manifest": faces_csv, "video": small_video}
    places |= {"out": tmp_path / "out", "predictions": predictions_csv}
    command = [word.format(**places) for word in words]
    missing = run_main(*command, "--model", "large")
    assert missing.code == 2
    assert "Error: The large model is not fetched" in missing.err
    assert missing.err.endswith("\n  Run: threeages models fetch large\n")
    large_model.fetch(encoder_file)
    opened: list[Path] = []
    monkeypatch.setattr("threeages.server.run.serve", lambda model, *_, **__: opened.append(model))
    ended = run_main(*command, "--model", "large")
    assert ended.code == 0, ended
    if words[0] == "serve":
        assert opened == [large_model.path]
    if words[0] == "predict":
        assert json.loads(ended.out)["status"] == "ok"
