"""tools/release.py: its steps, that it resumes, and a tiny release from end to end."""

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import release
from release import Release, Step

from threeages.inference.predictor import load_predictor
from threeages.inference.runtime import OnnxModel

SCRIPT = Path(release.__file__)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """A release of three folds, trained already, whose steps are not run."""
    temperatures = {"fold-0": 1.1, "fold-1": 1.7, "fold-2": 1.3}
    monkeypatch.setattr(
        release, "median_temperature", lambda runs: sorted(temperatures[run.name] for run in runs)[1]
    )
    (tmp_path / "both.csv").write_text("path,label\na.jpg,YOUNG\n")
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "train_people.csv").touch()
    return Release(raw, tmp_path / "utkface", tmp_path, tmp_path / "weights" / "clip_vit_b16.safetensors", 3)


def _commands(plan: Release) -> dict[str, str]:
    return {step.name: shlex.join(step.command[3:]) for step in release.list_steps(plan)}


def test_the_steps_stand_in_the_order_of_their_needs(plan: Release) -> None:
    names = list(_commands(plan))
    folds = [f"{kind}-fold-{fold}" for fold in range(3) for kind in ("distill", "train")]
    assert names == [
        "fetch", "import-film", "import-utkface", "merge", *folds, "int8-0", "int8-1", "int8-2",
        "evaluate-film", "evaluate-utkface", "distill-all", "train-all", "export", "thresholds", "card",
    ]  # fmt: skip


def test_the_folds_median_temperature_is_everywhere(plan: Release) -> None:
    commands = _commands(plan)
    with_temperature = [name for name, command in commands.items() if "--temperature 1.300" in command]
    assert with_temperature == ["int8-0", "int8-1", "int8-2", "export"]


def test_distillation_and_training_use_the_teacher_and_the_same_rows(plan: Release) -> None:
    commands = _commands(plan)
    for name, rows in (("fold-1", "--fold 1"), ("all", "--split none")):
        for kind in ("distill", "train"):
            assert f"both.csv {rows} --teacher" in commands[f"{kind}-{name}"]
    assert "--epochs 10" in commands["distill-all"]
    assert "--identities" in commands["import-film"]
    assert "--children" in commands["import-utkface"]


def test_a_teacher_that_is_given_is_not_fetched(plan: Release, tmp_path: Path) -> None:
    (tmp_path / "clip.safetensors").touch()
    assert "fetch" not in _commands(replace(plan, teacher=tmp_path / "clip.safetensors"))


def test_a_step_that_is_done_is_not_repeated_unless_its_command_changes(tmp_path: Path) -> None:
    def step(text: str) -> Step:
        return Step("count", (sys.executable, "-c", f"open(r'{tmp_path / 'log'}', 'a').write('{text}')"))

    for text in ("a", "a", "b"):
        release.run_step(step(text), tmp_path / "done")
    assert (tmp_path / "log").read_text() == "ab"


def test_a_step_is_repeated_where_a_file_that_it_read_has_changed_or_what_it_made_is_gone(
    tmp_path: Path,
) -> None:
    log, manifest, run, out = (tmp_path / name for name in ("log", "both.csv", "run", "out.csv"))
    run.mkdir()
    code = f"open(r'{log}', 'a').write('x'); open(r'{out}', 'a').write('made')"
    step = Step("count", (sys.executable, "-c", code, f"film={manifest}", str(run), "--out", str(out)))
    changes = (
        lambda: manifest.write_text("path\na.jpg\n"),
        lambda: manifest.write_text("path\nb.jpg\n"),
        lambda: (run / "best.ckpt").write_bytes(b"weights"),
        out.unlink,
    )
    for times, change in enumerate(changes, start=1):
        change()
        release.run_step(step, tmp_path / "done")
        release.run_step(step, tmp_path / "done")
        assert log.read_text() == "x" * times


def test_a_step_that_fails_stops_the_release_and_runs_again(tmp_path: Path) -> None:
    failing = Step("fail", (sys.executable, "-c", "raise SystemExit(3)"))
    for _ in range(2):
        with pytest.raises(SystemExit, match="fail failed with exit code 3"):
            release.run_step(failing, tmp_path / "done")


@pytest.mark.slow
def test_a_tiny_release_ends_in_a_model_with_thresholds_and_a_card(tmp_path: Path, faces_csv: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--fast", "--out", str(tmp_path / "release")]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr + first.stdout
    out = tmp_path / "release"
    signature = OnnxModel(out / "default.onnx").signature
    assert signature.temperature != 1
    assert f"--temperature {signature.temperature:.3f}" in first.stdout
    assert signature.set_thresholds  # so few rows give no confidence for a target error rate
    assert "film" in (out / "default.md").read_text(encoding="utf-8")
    photo = next(faces_csv.parent.glob("*.jpg"))
    assert next(load_predictor(out / "default.onnx", detect=False).predict([photo])).probs
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "$ " not in second.stdout
    assert second.stdout.count("is done") == first.stdout.count("$ ")
