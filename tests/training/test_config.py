import dataclasses
import json
import subprocess
import sys
from typing import Any, get_args

import pytest

from threeages.data.augmentation import Augmentation
from threeages.data.split import SplitMode
from threeages.errors import ConfigError
from threeages.models.heads import DEFAULT_HEADS, HeadSpec, create_head
from threeages.training.config import DistillConfig, TrainConfig, find_choices, read_settings


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"input_size": 16}, "input_size is 16, at least 32 is needed"),
        ({"batch_size": 0}, "batch_size is 0, at least 1 is needed"),
        ({"epochs": 0}, "epochs is 0"),
        ({"lr": 0.0}, "lr is 0.0, above 0 is needed"),
        ({"neck_lr": 0.0}, "neck_lr is 0.0, above 0 is needed"),
        ({"lr_decay": 1.5}, "lr_decay is 1.5, at most 1 is needed"),
        ({"ema": 1.0}, "ema is 1.0, below 1 is needed"),
        ({"patience": 0}, "patience is 0, at least 1 is needed"),
        ({"unfreeze": -1}, "unfreeze is -1, at least 0 is needed"),
        ({"split": "half"}, "split is 'half', allowed are random, identity, source, none"),
        ({"head": "coarl"}, "head is 'coarl', allowed are softmax, soft_ordinal, coral, corn"),
        ({"precision": "64"}, "precision is '64'"),
        ({"folds": 1}, "folds is 1"),
        ({"fold": 5}, "fold is 5, allowed are 0 to 4"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"alignment": -0.1}, "alignment is -0.1"),
        ({"extra_heads": {"years": 0.0}}, "extra_heads have the weights"),
        ({"extra_heads": {"years": float("nan")}}, "extra_heads have the weights"),
        ({"extra_heads": {"years": "much"}}, "extra_heads have the weights"),
        ({"lr": float("nan")}, "lr is nan, a finite number is needed"),
        ({"max_cache_gb": float("inf")}, "max_cache_gb is inf, a finite number"),
        ({"ema": float("nan")}, "ema is nan"),
        ({"alignment": float("-inf")}, "alignment is -inf"),
        ({"seed": -1}, "seed is -1, at least 0"),
        ({"seed": 2**32}, "seed is 4294967296, at most"),
        ({"epochs": "ten"}, "epochs is 'ten', a whole number is needed"),
        ({"epochs": 1.5}, "epochs is 1.5, a whole number is needed"),
        ({"epochs": None}, "epochs is None, a whole number is needed"),
        ({"batch_size": True}, "batch_size is True, a whole number is needed"),
        ({"lr": "fast"}, "lr is 'fast', a number is needed"),
        ({"flip": 1}, "flip is 1, true or false is needed"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TrainConfig(**given)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        TrainConfig(batch_size=0, fold=9, split="half", epochs=0, lr=-1)  # type: ignore[arg-type]
    assert all(word in str(error.value) for word in ("batch_size", "fold", "split", "epochs", "lr"))


def test_a_distillation_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="warm_up is 1, below 1"):
        DistillConfig(warm_up=1)


def test_it_survives_json_with_its_augmentation() -> None:
    augmentation = Augmentation(jpeg=0.9, resize_side=(10.0, 50.0))
    config = TrainConfig(
        epochs=3, split="random", augmented_copies=3, augmentation=augmentation, options={"hidden": 8}
    )
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("values", [{"colour": 1}, {"augmentation": {"colour": 1}}])
def test_a_name_that_is_no_setting_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no setting 'colour'"):
        TrainConfig.from_dict(values)


@pytest.mark.parametrize("config", [TrainConfig, DistillConfig])
def test_every_field_is_described_and_every_default_valid(config: type) -> None:
    settings = read_settings(config)
    assert list(settings) == [field.name for field in dataclasses.fields(config)]
    for name, (kind, setting) in settings.items():
        assert setting.help or find_choices(kind, setting), name
        assert setting.section or not setting.option, name
    config()


def test_the_choices_are_those_of_the_registries() -> None:
    settings = read_settings(TrainConfig)
    assert find_choices(*settings["split"]) == get_args(SplitMode)
    for kind in find_choices(*settings["head"]):
        create_head(HeadSpec(kind=kind), 4)
    assert find_choices(*settings["head"])[0] == DEFAULT_HEADS[0].kind


def test_phases_come_in_order_and_neck_and_heads_have_their_own_rate() -> None:
    config = TrainConfig(head_epochs=2, head_lr=1e-2, epochs=3, lr=1e-4, unfreeze=1)
    head, main = config.phases()
    assert (head.name, head.epochs, head.lr, head.unfreeze) == ("head", 2, 1e-2, 0)
    assert (main.name, main.epochs, main.lr, main.neck_lr, main.unfreeze) == ("finetune", 3, 1e-4, 1e-4, 1)
    assert dataclasses.replace(config, neck_lr=1e-3).phases()[1].neck_lr == 1e-3
    assert [phase.name for phase in dataclasses.replace(config, head_epochs=0).phases()] == ["train"]
    assert [phase.name for phase in dataclasses.replace(config, epochs=0).phases()] == ["head"]


def test_the_settings_load_no_heavy_module() -> None:
    code = (
        "import sys, threeages.training.config\n"
        "print([m for m in ('torch', 'cv2', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
