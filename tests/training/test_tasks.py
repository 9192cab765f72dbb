from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from threeages.data.manifest import Manifest
from threeages.export.to_onnx import export_onnx
from threeages.inference.runtime import OnnxModel
from threeages.models.classifier import SIGNATURES, Architecture, create_classifier
from threeages.models.heads import HeadSpec, years_spec
from threeages.training.checkpoint import load_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.run import run_training
from threeages.training.tasks import PRIOR, ClassificationTask, DistillationTask, select_targets

SMALL = TrainConfig(input_size=56, epochs=1, batch_size=16, precision="32-true")


def _task(weight: float) -> tuple[DistillationTask, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    architecture = Architecture((HeadSpec(), years_spec()))
    model = create_classifier(replace(SIGNATURES["cnn"], input_size=56), architecture)
    features = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float16)
    targets = {
        "age_group": np.array([0, 1, 2, 2, -1, 1]),
        "years": np.array([20, -1, 60, 55, 70, 40]),
        "teacher": features,
    }
    return DistillationTask(model, {"years": 0.5}, features[:4], weight), targets


def test_distillation_adds_its_loss_and_its_metric_to_those_of_the_labels() -> None:
    task, values = _task(weight=0.25)
    plain = ClassificationTask(task.model, {"years": 0.5})
    pixels = torch.randint(0, 256, (3, 56, 56, 3), dtype=torch.uint8)
    targets = select_targets(values, np.array([0, 2, 5]))
    outputs = task(pixels)
    logits = plain(pixels)
    for name, expected in logits.items():
        assert torch.equal(outputs[name], expected)
    distance = task.distillation.compare(outputs["teacher"], targets["teacher"].float())
    losses = task.losses(outputs, targets)
    assert task.count_known(targets) == {"age_group": 3, "years": 3, "teacher": 3}
    assert losses.keys() == {"age_group", "years", "teacher"}
    expected = plain.total(plain.losses(logits, targets)) + 0.25 * distance
    torch.testing.assert_close(task.total(losses), expected)
    with torch.no_grad():
        outputs, logits = task(pixels), plain(pixels)
        metrics = task.metrics(outputs, targets)
        assert metrics.pop("teacher_explained") == pytest.approx(1 - distance.item())
        assert metrics == plain.metrics(logits, targets)
    assert metrics.keys() == {"loss", "accuracy", "years_mae"}


def test_rows_without_a_label_are_learned_from_the_teacher_alone() -> None:
    task, values = _task(weight=1.0)
    values["years"][4] = -1
    targets = select_targets(values, np.array([4]))
    outputs = task(torch.zeros((1, 56, 56, 3), dtype=torch.uint8))
    distance = task.distillation.compare(outputs["teacher"], targets["teacher"].float())
    losses = task.losses(outputs, targets)
    assert task.count_known(targets) == {"age_group": 0, "years": 0, "teacher": 1}
    torch.testing.assert_close(task.total(losses), distance)
    assert task.count_correct(outputs, targets) == 0


def test_the_projection_trains_with_the_heads_and_is_no_part_of_the_model() -> None:
    task, _ = _task(weight=1.0)
    trained = {id(p) for module in task.top() for p in module.parameters()}
    assert {id(p) for p in task.distillation.parameters()} <= trained
    assert not trained & {id(p) for p in task.model.net.features.parameters()}
    assert {key.split(".")[0] for key in task.own_state()} == {"distillation"}
    assert ClassificationTask(task.model, {}).own_state() == {}


@pytest.mark.slow
def test_a_training_predicts_its_teacher_resumes_and_leaves_nothing_of_it(
    manifest: Manifest, encoder: Path, cache_dir: Path, tmp_path: Path
) -> None:
    """It does better than by the mean, which costs 1; the export answers as any other."""
    config = replace(SMALL, teacher=str(encoder), teacher_weight=20.0, epochs=6, batch_size=4)
    rows: list[dict[str, float]] = []

    def stop(epoch: dict[str, float]) -> None:
        rows.append(epoch)
        if epoch["epoch"] == 3:
            raise KeyboardInterrupt

    run_training(manifest, config, tmp_path / "whole", cache_dir=cache_dir, log=rows.append)
    with pytest.raises(KeyboardInterrupt):
        run_training(manifest, config, tmp_path / "stopped", cache_dir=cache_dir, log=stop)
    run_training(manifest, config, tmp_path / "stopped", cache_dir=cache_dir, log=rows.append)
    losses = [row["train_teacher_loss"] for row in rows]
    assert losses[5] < min(0.5, losses[0])
    assert losses[6:] == losses[:6]
    assert rows[0]["train_loss"] < 5  # of the labels alone
    model, saved = load_checkpoint(tmp_path / "whole")
    assert [spec.name for spec in model.architecture.heads] == ["age_group"]
    assert "val_teacher_explained" in saved["history"][0]
    export_onnx(model, tmp_path / "model.onnx")
    pixels = np.zeros((2, 56, 56, 3), dtype=np.uint8)
    assert OnnxModel(tmp_path / "model.onnx").predict(pixels).shape == (2, 3)


@pytest.mark.slow
def test_the_moving_average_takes_the_projection_along(
    manifest: Manifest, encoder: Path, cache_dir: Path, tmp_path: Path
) -> None:
    config = replace(SMALL, teacher=str(encoder), ema=0.5, keep_last=True)
    run_training(manifest, config, tmp_path / "run", cache_dir=cache_dir)
    kept, last = (load_checkpoint(tmp_path / "run" / name)[1]["task"] for name in ("best.ckpt", "last.ckpt"))
    name = "distillation.projection.weight"
    assert not torch.equal(kept[name], last[name])


def test_logits_are_adjusted_by_a_sources_priors_in_the_loss_alone() -> None:
    task, values = _task(weight=0.25)
    targets = select_targets(values, np.array([0, 1]))
    outputs = task(torch.randint(0, 256, (2, 56, 56, 3), dtype=torch.uint8))
    plain = task.losses(outputs, targets)["age_group"].item()
    priors = torch.log(torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]))  # of the labels that they have
    adjusted = task.losses(outputs, {**targets, PRIOR: priors})["age_group"].item()
    expected = torch.nn.functional.cross_entropy(outputs["age_group"] + priors, targets["age_group"])
    assert adjusted == pytest.approx(expected.item())
    assert adjusted < plain
    outputs = {name: values.detach() for name, values in outputs.items()}
    assert task.metrics(outputs, {**targets, PRIOR: priors}) == task.metrics(outputs, targets)
