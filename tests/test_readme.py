"""The README is run, so that it stays true."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from threeages.cli.main import app
from threeages.demo import find_portraits

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
MAKEFILE = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def _command_lines() -> list[str]:
    """Commands in blocks and in running text; the latter may break over lines."""
    lines = [line for block in _blocks("(?:bash)?") for line in block.replace("\\\n", " ").splitlines()]
    inline = [" ".join(code.split()) for code in re.findall(r"`(threeages [^`]+)`", README)]
    return [line for line in [*lines, *inline] if line.startswith("threeages ")]


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child, sub in children.items():
        yield from _commands(sub, f"{name} {child}")


COMMANDS = dict(_commands(get_command(app), "threeages"))


@pytest.mark.parametrize("line", _command_lines())
def test_every_command_line_is_understood(line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[-1].startswith("--") and len(words) == 2:  # threeages --help
        return
    name = max((n for n in COMMANDS if " ".join(words).startswith(n)), key=len)
    arguments = words[len(name.split()) :]
    if arguments:  # a bare name in running text needs none
        COMMANDS[name].make_context(name, arguments)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_is_documented(name: str) -> None:
    assert name in README
    assert COMMANDS[name].help


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^make (\w+)", README, re.MULTILINE))
    assert {"demo", "test"} <= targets
    assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in targets)


@pytest.mark.parametrize("code", _blocks("python"))
def test_every_python_block_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(find_portraits()[0], tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


def test_every_file_named_exists() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parents[1] / link).exists(), link
