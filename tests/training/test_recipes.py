import pytest

from threeages.errors import ConfigError
from threeages.models.registry import find_model
from threeages.training.recipes import RECIPES, create_recipe


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_names_a_model_there_is_and_says_what_it_is(name: str) -> None:
    find_model(create_recipe(name).model)
    assert RECIPES[name].__doc__
    assert RECIPES[name].__name__.replace("_", "-") == name


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="reference-cnn"):
        create_recipe("none")
