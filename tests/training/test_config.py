import dataclasses
import json
from typing import Any

import pytest

from threeages.errors import ConfigError
from threeages.training.config import TrainConfig


def test_the_defaults_are_the_reference_studys_cnn() -> None:
    config = TrainConfig()
    assert (config.model, config.input_size, config.batch_size, config.epochs) == ("cnn", 128, 32, 10)
    assert (config.lr, config.split, config.seed) == (1e-3, "random", 42)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"input_size": 16}, "input_size is 16"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"lr": 0.0}, "lr"),
        ({"split": "half"}, "split is 'half'"),
        ({"precision": "64"}, "precision is '64'"),
        ({"folds": 2}, "folds is 2"),
        ({"fold": 5}, "fold is 5"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"alignment": -0.1}, "alignment is -0.1"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TrainConfig(**given)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        TrainConfig(batch_size=0, fold=9, split="half")  # type: ignore[arg-type]
    assert all(word in str(error.value) for word in ("batch_size", "fold", "split"))


def test_it_survives_json() -> None:
    config = dataclasses.replace(TrainConfig(), epochs=3, split="identity")
    assert TrainConfig(**json.loads(json.dumps(config.to_dict()))) == config
