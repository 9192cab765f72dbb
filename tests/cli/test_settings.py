import json
import re
from dataclasses import fields

import pytest
import typer
from typer.testing import CliRunner

from threeages.cli.settings import with_settings
from threeages.errors import ConfigError
from threeages.training.config import DistillConfig, TrainConfig, read_settings

RUNNER = CliRunner()


def _app() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @with_settings(given=TrainConfig, other=(DistillConfig, ["warm_up"]))
    def show(name: str, *, given: dict[str, object], other: dict[str, object]) -> None:
        """Print what is given."""
        print(json.dumps([name, given, other]))

    return app


def _given(*args: str) -> list[object]:
    result = RUNNER.invoke(_app(), ["x", *args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: list[object] = json.loads(result.output)
    return found


def test_only_what_is_given_arrives_as_the_fields_type() -> None:
    assert _given() == ["x", {}, {}]
    assert _given("--epochs", "3", "--lr", "1e-4", "--model", "cnn", "--no-frozen-cache") == [
        "x",
        {"epochs": 3, "lr": 1e-4, "model": "cnn", "frozen_cache": False},
        {},
    ]
    assert _given("--warm-up", "0.1", "--extra-head", "years=0.5", "--extra-head", "gender") == [
        "x",
        {"extra_heads": ["years=0.5", "gender"]},
        {"warm_up": 0.1},
    ]


def test_a_word_stands_for_none() -> None:
    words = ("--patience", "none", "--unfreeze", "all", "--alignment", "own", "--weights", "published")
    assert _given(*words) == [
        "x",
        {"patience": None, "unfreeze": None, "alignment": None, "weights": None},
        {},
    ]
    assert _given("--patience", "2", "--ema", "0.9") == ["x", {"patience": 2, "ema": 0.9}, {}]
    with pytest.raises(ConfigError, match=r"(?s)--patience was 'all'.*INT.*'none'"):
        RUNNER.invoke(_app(), ["x", "--patience", "all"], catch_exceptions=False)


def test_a_number_that_is_none_is_a_usage_error() -> None:
    assert RUNNER.invoke(_app(), ["x", "--epochs", "many"]).exit_code == 2


@pytest.mark.parametrize("command", ["train", "distill"])
def test_every_option_is_one_line_at_80_columns(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from threeages.cli.main import app

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    text = RUNNER.invoke(app, [command, "--help"]).output
    panels = text.split("─ Options ─")[1].split("╭─")[1:]
    assert {panel.split(" ─")[0].strip("─ ") for panel in panels} >= {"Model", "Split", "Distillation"}
    for panel in panels:
        rows = [line for line in panel.splitlines() if line.startswith("│")]
        assert rows
        assert [row for row in rows if not re.match(r"│ +--", row)] == []


def test_train_has_an_option_for_every_setting_but_those_of_recipes_alone() -> None:
    from threeages.cli.main import app

    text = RUNNER.invoke(app, ["train", "--help"], env={"TERMINAL_WIDTH": "120", "COLUMNS": "120"}).output
    for field in fields(TrainConfig):
        flag = "--" + field.name.replace("_", "-").replace("extra-heads", "extra-head")
        assert (f"{flag} " in text) == read_settings(TrainConfig)[field.name][1].option, flag
