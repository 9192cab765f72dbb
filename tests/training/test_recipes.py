import json
from dataclasses import replace
from pathlib import Path

import pytest

from threeages.errors import ConfigError
from threeages.models.registry import find_model
from threeages.training.recipes import RECIPES, create_recipe, default


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_names_a_model_there_is_and_splits_by_identity(name: str) -> None:
    config = create_recipe(name)
    find_model(config.model)
    assert (config.split, config.teacher, config.weights) == ("identity", None, None)
    assert RECIPES[name].__name__.replace("_", "-") == name


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"no recipe 'none'.*\n.*default, frozen-features, clip-features, fine-tuned"
    ):
        create_recipe("none")


def test_a_recipe_is_read_from_json_and_from_a_run_folder(tmp_path: Path) -> None:
    config = replace(default(), epochs=1)
    (tmp_path / "mine.json").write_text(json.dumps(config.to_dict()))
    (tmp_path / "config.json").write_text(json.dumps({"config": config.to_dict(), "split": {}}))
    for name in ("mine.json", "config.json", ""):
        assert create_recipe(str(tmp_path / name)) == config


@pytest.mark.parametrize("content", ["[1]", "{", '{"model": "cnn", "colour": 1}'])
def test_a_file_that_holds_no_settings_is_explained(tmp_path: Path, content: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(ConfigError, match=r"r\.json|colour"):
        create_recipe(str(tmp_path / "r.json"))
    with pytest.raises(ConfigError, match=r"none\.json"):
        create_recipe(str(tmp_path / "none.json"))


def test_damaged_settings_of_a_run_name_the_command_that_writes_them_again(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"config": {"mod')
    with pytest.raises(ConfigError, match=r"its config\.json or"):
        create_recipe(str(tmp_path))
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(ConfigError, match=r"(?s)Cannot read settings.*Run the threeages train command"):
        create_recipe(str(tmp_path))
