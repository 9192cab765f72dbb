from dataclasses import replace

import pytest

from threeages.errors import ConfigError
from threeages.models.registry import find_model
from threeages.studies.recipes import RECIPES, create_recipe
from threeages.training.config import TrainConfig
from threeages.training.recipes import RECIPES as PRODUCT_RECIPES


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_names_a_model_there_is(name: str) -> None:
    config = create_recipe(name)
    find_model(config.model)
    assert RECIPES[name].__name__.replace("_", "-") == name
    assert config.split == ("identity" if name.startswith("corrected") else "random")
    assert (config.preprocessing == "scaled_twice") == (
        name in {"reference-resnet50", "reference-mobilenet-v2"}
    )


def test_the_reference_cnn_is_the_studys() -> None:
    config = create_recipe("reference-cnn")
    assert config == TrainConfig(
        model="cnn", input_size=128, batch_size=32, epochs=10, lr=1e-3, split="random", seed=42
    )


def test_the_products_recipes_are_found_too() -> None:
    assert not RECIPES.keys() & PRODUCT_RECIPES.keys()
    assert create_recipe("default") == PRODUCT_RECIPES["default"]()


def test_parts_change_a_recipe() -> None:
    assert create_recipe("frozen-features+alone+gender").extra_heads == {"gender": 0.3}
    config = create_recipe("corrected-mobilenet-v2+years+corn")
    plain = create_recipe("corrected-mobilenet-v2")
    assert config == replace(plain, extra_heads={"years": 0.3}, head="corn")
    assert create_recipe("default+frozen").epochs == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("default+coarl", r"(?s)no part '\+coarl'.*coral.*gender.*--extra-head"),
        ("nothing+coral", "no recipe 'nothing'"),
    ],
)
def test_what_there_is_not_is_named_with_what_is_allowed(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        create_recipe(name)
