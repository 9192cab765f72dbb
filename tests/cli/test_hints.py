"""Hints name options that the command has; held over every hint and every command of the package."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import threeages
from threeages.cli import main as program
from threeages.cli.hints import OPTION, SENTENCE_END, find_command, find_lacking, find_owners, fit_text
from threeages.cli.hints import list_options as _list_options
from threeages.cli.main import list_commands, main
from threeages.errors import ConfigError

SOURCE = Path(threeages.__file__).parent
COMMANDS = list_commands()
OPTIONS = _list_options(COMMANDS)
# of other programs, and of the scripts python -m threeages.studies...
FOREIGN = {"--force-reinstall", "--no-deps"}


def _texts(tree: ast.AST) -> Iterator[str]:
    """Every text of a module but its docstrings, `{}` in place of what a f-string computes."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)  # type: ignore[misc]
        elif id(node) not in docstrings | inside and isinstance(node, ast.Constant):
            yield str(node.value)


def _sentences() -> list[tuple[str, str]]:
    """(file, text) of every text outside the studies' own scripts that names an option."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if "ArgumentParser" in ast.dump(tree) or "create_parser" in ast.dump(tree):
            continue
        found += [(path.name, text) for text in _texts(tree) if OPTION.search(text) and " " in text]
    return found


SENTENCES = _sentences()


def test_the_texts_are_found() -> None:
    assert len(SENTENCES) > 30
    assert any("--max-cache-gb" in text for _, text in SENTENCES)


@pytest.mark.parametrize(("file", "text"), SENTENCES, ids=lambda value: value[:40])
def test_every_option_named_in_a_text_is_one_of_a_command(file: str, text: str) -> None:
    known = frozenset().union(*OPTIONS.values()) | FOREIGN
    for sentence in SENTENCE_END.split(text):
        for owner, option in find_owners(sentence, OPTIONS):
            assert option in (OPTIONS[owner] if owner else known), f"{file}: {sentence}"


@pytest.mark.parametrize("command", OPTIONS)
def test_a_command_shows_no_option_that_it_lacks(command: str) -> None:
    for _, text in SENTENCES:
        if FOREIGN & set(OPTION.findall(text)):
            continue
        shown = fit_text(text, command, OPTIONS)
        assert shown
        lacking = [
            option
            for sentence in SENTENCE_END.split(shown)
            if " has no option " not in sentence
            for option in find_lacking(sentence, command, OPTIONS)
        ]
        assert lacking == [], shown


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("threeages train", "Make room. Or raise --max-cache-gb. Or go without with --no-frozen-cache."),
        ("threeages study", "Make room."),
        (None, "Make room. Or raise --max-cache-gb. Or go without with --no-frozen-cache."),
    ],
)
def test_sentences_with_an_option_that_is_lacking_are_left_out(command: str | None, shown: str) -> None:
    text = "Make room. Or raise --max-cache-gb. Or go without with --no-frozen-cache."
    assert fit_text(text, command, OPTIONS) == shown


def test_where_nothing_is_left_another_command_is_named() -> None:
    found = fit_text("Raise --max-cache-gb.", "threeages study", OPTIONS)
    assert found == "'threeages study' has no option --max-cache-gb; 'threeages train' has it."


def test_an_option_behind_another_command_stays() -> None:
    text = "Write one: threeages export RUN --out FILE.onnx. Or run 'threeages data import' with --map A=OLD."
    assert fit_text(text, "threeages data audit", OPTIONS) == text
    assert find_lacking("Run 'threeages train' with --map.", "threeages data import", OPTIONS) == ["--map"]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["train", "m.csv", "--out", "x"], "threeages train"),
        (["data", "import", "x"], "threeages data import"),
        (["data"], None),
        (["--version"], None),
        ([], None),
        (["nonsense"], None),
    ],
)
def test_the_command_is_found_in_the_arguments(arguments: list[str], command: str | None) -> None:
    assert find_command(arguments, OPTIONS) == command


@pytest.mark.parametrize("command", OPTIONS)
def test_errors_of_every_command_are_fitted(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ConfigError(
            "It cannot be.", hint="Do it. Or give --frozen-cache. Or give --jsonl. Or --map A=B."
        )

    monkeypatch.setattr(program, "app", fail)
    monkeypatch.setattr(program, "list_commands", lambda: COMMANDS)
    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().err
    assert shown.startswith("Error: It cannot be.\n  Do it.")
    assert set(re.findall(r"--[a-z-]+", shown)) <= OPTIONS[command]
