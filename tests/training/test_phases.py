import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from threeages.data.manifest import load_manifest
from threeages.data.stored.entries import LOCKS
from threeages.errors import ConfigError, DataError, ThreeAgesError
from threeages.models.classifier import SIGNATURES, create_classifier
from threeages.training import frozen
from threeages.training.build import create_model
from threeages.training.checkpoint import load_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.frozen import FeatureSource, open_features
from threeages.training.run import run_training

# a network with batch norm and dropout, as the backbones have, but small
TRANSFER = TrainConfig(
    model="attention_cnn",
    input_size=32,
    batch_size=16,
    split="identity",
    head_epochs=1,
    head_lr=1e-3,
    epochs=1,
    lr=1e-4,
    unfreeze=2,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def _train(faces_csv: Path, cache: Path, run: Path, config: TrainConfig, **more: Any):  # type: ignore[no-untyped-def]
    return run_training(load_manifest(faces_csv), config, run, cache_dir=cache, **more)


def _history(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_training_on_the_cache_equals_training_on_the_images(
    faces_csv: Path, cache: Path, tmp_path: Path
) -> None:
    # in float32: bf16 rounds more than half precision does
    config = replace(TRANSFER, precision="32-true")
    tables = [
        _train(faces_csv, cache, tmp_path / str(cached), replace(config, frozen_cache=cached))
        for cached in (True, False)
    ]
    np.testing.assert_allclose(tables[0].probs, tables[1].probs, atol=0.01)
    with_cache, without = (
        load_checkpoint(tmp_path / run / "last.ckpt")[0].state_dict() for run in ("True", "False")
    )
    for name, value in without.items():  # a step of Adam is as long as lr, whatever the rounding did to it
        torch.testing.assert_close(with_cache[name].float(), value.float(), rtol=0.05, atol=2e-3, msg=name)
    assert len(list(cache.glob("features-*/features.npy"))) == 2


@pytest.mark.slow
def test_both_phases_run_and_the_curves_say_where_the_second_starts(
    faces_csv: Path, cache: Path, tmp_path: Path
) -> None:
    _train(faces_csv, cache, tmp_path / "run", replace(TRANSFER, head_epochs=2))
    rows = _history(tmp_path / "run")
    assert [row["phase"] for row in rows] == ["head", "head", "finetune"]
    with Image.open(tmp_path / "run" / "curves.png") as image:
        assert image.width > 500


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"augmented_copies": 2, "ema": 0.9, "keep_last": True}])
def test_resuming_in_the_second_phase_gives_the_same_weights(
    faces_csv: Path, cache: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    config = replace(TRANSFER, epochs=2, **more)
    _train(faces_csv, cache, tmp_path / "whole", config)
    run = tmp_path / "halved"

    def stop(epoch: dict[str, Any]) -> None:
        if epoch["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(faces_csv, cache, run, config, log=stop)
    _train(faces_csv, cache, run, config)
    for file in ("last.ckpt", "best.ckpt"):
        states = [load_checkpoint(tmp_path / name / file)[0].state_dict() for name in ("whole", "halved")]
        for name, value in states[0].items():
            assert torch.equal(states[1][name], value), name


def test_the_moving_average_is_kept_and_the_weights_themselves_train_on(
    faces_csv: Path, cache: Path, tmp_path: Path
) -> None:
    _train(faces_csv, cache, tmp_path, replace(TRANSFER, ema=0.9, keep_last=True))
    states = [load_checkpoint(tmp_path / file)[0].state_dict() for file in ("last.ckpt", "best.ckpt")]
    apart = [name for name, value in states[0].items() if not torch.equal(states[1][name], value)]
    assert "net.neck.0.weight" in apart
    assert not any(name.startswith("net.features.0.") for name in apart)  # frozen


@pytest.mark.slow
def test_further_heads_are_trained_and_evaluated(faces_csv: Path, cache: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        input_size=48, epochs=1, split="identity", head="coral", extra_heads={"years": 0.1}, flip=True
    )
    table = _train(faces_csv, cache, tmp_path / "run", config)
    assert np.allclose(table.probs.sum(1), 1)
    metrics = json.loads((tmp_path / "run" / "test_metrics.json").read_text())
    known = table.labels >= 0
    assert metrics["accuracy"] == pytest.approx((table.probs.argmax(1) == table.labels)[known].mean())
    ages, predicted = (np.array(table.columns[name], dtype=float) for name in ("age", "predicted_age"))
    assert metrics["years_mae"] == pytest.approx(np.abs(predicted - ages).mean(), abs=0.06)  # to a decimal
    assert "val_years_mae" in _history(tmp_path / "run")[0]
    model, _ = load_checkpoint(tmp_path / "run")
    assert model.years(torch.zeros(2, 48, 48, 3, dtype=torch.uint8)).shape == (2, 101)


def test_a_cache_that_would_not_fit_is_refused_before_it_is_computed(
    faces_csv: Path, cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"(?s)needs .* GB.*--max-cache-gb"):
        _train(faces_csv, tmp_path, tmp_path / "run", replace(TRANSFER, max_cache_gb=1e-6))
    assert not list(tmp_path.glob("*features*"))


@pytest.mark.slow
def test_values_beyond_float16_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = create_classifier(replace(SIGNATURES["attention_cnn"], input_size=32)).eval()
    monkeypatch.setattr(frozen, "FLOAT16_MAX", 1e-3)
    with pytest.raises(ThreeAgesError, match="--no-frozen-cache"):
        open_features(model, FeatureSource(np.full((2, 32, 32, 3), 200, np.uint8)), b"", 1, tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == [LOCKS]


def test_more_stages_than_there_are_cannot_be_unfrozen(faces_csv: Path, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 4 stages"):
        _train(faces_csv, cache, tmp_path / "run", replace(TRANSFER, unfreeze=99))


def test_neck_and_heads_may_learn_at_a_rate_of_their_own(
    faces_csv: Path, cache: Path, tmp_path: Path
) -> None:
    config = replace(TRANSFER, epochs=1, lr=1e-12, neck_lr=1e-2, lr_decay=0.5, head_epochs=0)
    _train(faces_csv, cache, tmp_path / "run", config)
    torch.manual_seed(config.seed)
    before = create_model(config, load_manifest(faces_csv)).state_dict()
    after, saved = load_checkpoint(tmp_path / "run" / "last.ckpt")
    moved = {
        name: float((value.detach() - before[name]).abs().max()) for name, value in after.named_parameters()
    }
    assert max(v for name, v in moved.items() if name.startswith("net.features")) < 1e-8
    assert min(v for name, v in moved.items() if name.startswith("net.head")) > 1e-3
    assert [group["first_lr"] for group in saved["optimizer"]["param_groups"]] == [1e-12, 1e-2]
    assert 0.5e-2 < saved["optimizer"]["param_groups"][1]["lr"] < 1e-2
