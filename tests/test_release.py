"""tools/release.py: its steps, that it resumes, and a tiny release from end to end."""

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import release
from huggingface_hub import ModelCard
from release import Release, Step

from threeages.evaluation.predictions import PredictionTable, save_predictions
from threeages.evaluation.provenance import read_provenance
from threeages.inference.predictor import load_predictor
from threeages.inference.runtime import OnnxModel
from threeages.signature import Signature

SCRIPT = Path(release.__file__)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """A release of two folds and two sources, trained already, whose steps are not run."""
    monkeypatch.setattr(release, "fit_temperature", lambda runs: 1.0 + 0.1 * len(runs))
    (tmp_path / "all.csv").write_text("path,label\na.jpg,YOUNG\n")
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "train_people.csv").touch()
    for name in ("utkface", "a+b"):
        run = tmp_path / "sources" / "all" / name
        run.mkdir(parents=True)
        (run / "predictions.csv").touch()
    return Release(raw, tmp_path / "utkface", tmp_path / "portraits", tmp_path, 2)


def _commands(plan: Release) -> dict[str, str]:
    return {step.name: shlex.join(step.command[3:]) for step in release.list_steps(plan)}


def test_the_steps_stand_in_the_order_of_their_needs(plan: Release) -> None:
    assert list(_commands(plan)) == [
        "import-film", "import-utkface", "import-portraits", "merge", "cross-source", "train-fold-0",
        "train-fold-1", "int8-fold-0", "int8-fold-1", "int8-without-a+b", "int8-without-utkface",
        "evaluate-film", "evaluate-utkface", "evaluate-unseen", "train-all", "export", "thresholds", "card",
    ]  # fmt: skip


def test_the_temperature_of_the_sources_never_met_is_everywhere(plan: Release) -> None:
    commands = _commands(plan)
    with_temperature = [name for name, command in commands.items() if "--temperature 1.200" in command]
    assert with_temperature == [name for name in commands if name.startswith("int8-")] + ["export"]


def test_every_training_has_the_same_rows_and_recipe(plan: Release) -> None:
    commands = _commands(plan)
    for name, rows in (("fold-1", "--fold 1"), ("all", "--split none")):
        assert f"all.csv {rows} --recipe default" in commands[f"train-{name}"]
    assert "--recipe default --join parliaments=us-congress,uk-parliament" in commands["cross-source"]
    assert "--identities" in commands["import-film"]
    assert "--children" in commands["import-utkface"]


def test_thresholds_and_card_are_of_sources_never_met(plan: Release) -> None:
    commands = _commands(plan)
    unseen = str(plan.out / "unseen" / "predictions.csv")
    assert f"{unseen} --by held_out" in commands["thresholds"]
    assert f"--unseen {unseen} --run {plan.out / 'all'}" in commands["card"]
    folds = [str(plan.out / "int8" / f"without-{name}" / "predictions.csv") for name in ("a+b", "utkface")]
    assert commands["evaluate-unseen"].startswith(f"evaluate {shlex.join(folds)} --out")


def test_without_portraits_no_parliaments_are_joined(plan: Release) -> None:
    commands = _commands(replace(plan, portraits=None))
    assert "import-portraits" not in commands
    assert "--join" not in commands["cross-source"]


def test_the_temperature_is_fitted_with_every_run_weighing_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits of one run are twice as large as they should be, those of the other are right."""
    rng = np.random.default_rng(0)
    models = {}
    for name, count, factor, own in (("many", 4000, 1.0, 1.0), ("few", 400, 2.0, 0.5)):
        logits = rng.normal(0, 2, (count, 3))
        probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        labels = (rng.random((count, 1)) > probs.cumsum(axis=1)[:, :2]).sum(axis=1)
        answers = np.exp(factor * logits / own)
        answers /= answers.sum(axis=1, keepdims=True)
        paths = tuple(map(str, range(count)))
        table = PredictionTable(paths, labels, ("ok",) * count, answers, answers.max(axis=1))
        save_predictions(table, tmp_path / name / "predictions.csv")
        models[tmp_path / name] = SimpleNamespace(signature=Signature("x", 8, temperature=own))
    monkeypatch.setattr(release, "load_checkpoint", lambda run: (models[run],))
    many, few = models
    assert release.fit_temperature([many]) == pytest.approx(1, abs=0.05)
    assert release.fit_temperature([few]) == pytest.approx(2, abs=0.3)
    assert 1.2 < release.fit_temperature([many, few]) < 1.7


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
    card = (out / "default.md").read_text(encoding="utf-8")
    assert "film" in card
    assert "| Source never met | Images |" in card
    assert ModelCard(card).data.eval_results
    assert "\n| `faces` | 315 |" in card  # every row trains the model
    run, int8 = (read_provenance(folder) for folder in (out / "fold-0", out / "int8" / "fold-0"))
    assert int8 == run
    assert int8.split == "identity"
    photo = next(faces_csv.parent.glob("*.jpg"))
    assert next(load_predictor(out / "default.onnx", detect=False).predict([photo])).probs
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "$ " not in second.stdout
    assert second.stdout.count("is done") == first.stdout.count("$ ")
