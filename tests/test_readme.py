"""What README and documentation say is run, so that it stays true."""

import csv
import json
import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from threeages.cli.main import app, list_commands

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
QUICKSTART = ROOT / "docs" / "quickstart.md"
PAGES = (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
CHEAP = ("threeages predict docs/", "threeages data import", "threeages data audit", "threeages data split")
NEAR = {"box": 2.0, "age": 1.0}  # between processors an answer moves by about as little


def _blocks(page: Path, language: str) -> list[str]:
    """Code blocks in one language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def _lines(page: Path) -> list[str]:
    """The commands in shell blocks."""
    lines = [line for block in _blocks(page, "(?:bash)?") for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("threeages ")]


def _mentioned(page: Path) -> list[str]:
    """Commands in running text, with or without their arguments; they may break over lines."""
    found = re.findall(r"`(threeages [^`]+)`", page.read_text(encoding="utf-8"))
    return [" ".join(code.split()) for code in found]


def _find_command(words: list[str]) -> str:
    name = max((n for n in COMMANDS if f"{' '.join(words)} ".startswith(f"{n} ")), key=len, default=None)
    assert name, f"no command of {', '.join(COMMANDS)}"
    return name


COMMANDS = list_commands()


@pytest.fixture
def checkout(tmp_path: Path, faces_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the pages speak of: pictures, and faces in folders of their age groups."""
    shutil.copytree(ROOT / "docs" / "pictures", tmp_path / "docs" / "pictures")
    with (faces_dir / "faces.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        folder = tmp_path / "FACES" / row["label"]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(faces_dir / row["path"], folder)
    people = "".join(f"{row['path']},{row['identity']}\n" for row in rows)
    (tmp_path / "people.csv").write_text(f"ID,person\n{people}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", [line for page in PAGES for line in _lines(page)])
def test_every_command_line_is_understood(line: str) -> None:
    words = shlex.split(line, comments=True)
    name = _find_command(words)
    COMMANDS[name].make_context(name, words[len(name.split()) :])


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in _mentioned(page)}))
def test_every_command_mentioned_has_those_options(line: str) -> None:
    words = shlex.split(line)
    command = COMMANDS[_find_command(words)]
    known = {name for option in command.params for name in [*option.opts, *option.secondary_opts]}
    assert {word for word in words if word.startswith("--")} <= {*known, "--help"}


@pytest.mark.parametrize("page", [README, QUICKSTART], ids=lambda page: page.name)
@pytest.mark.usefixtures("checkout")
def test_cheap_commands_run_in_their_order(page: Path) -> None:
    lines = [line for line in _lines(page) if line.startswith(CHEAP)]
    assert lines
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception}"


@pytest.mark.usefixtures("checkout")
def test_the_record_shown_is_what_the_command_prints() -> None:
    [line] = [line for line in _mentioned(README) if "--jsonl" in line]
    result = CliRunner().invoke(app, shlex.split(line)[1:])
    found, shown = json.loads(result.stdout), json.loads(_blocks(README, "json")[0])
    assert list(found) == list(shown)
    for name, value in shown.items():
        if isinstance(value, (float, dict)) or name == "box":
            assert found[name] == pytest.approx(value, abs=NEAR.get(name.split("_")[0], 0.02))
        else:
            assert found[name] == value, name


@pytest.mark.parametrize("code", [code for page in (README, QUICKSTART) for code in _blocks(page, "python")])
@pytest.mark.usefixtures("checkout")
def test_every_python_block_runs(code: str) -> None:
    exec(compile(code, "page", "exec"), {})


def test_install_and_the_three_uses_come_first() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    for use in ("pip install", "threeages predict", "threeages serve", "load_predictor"):
        assert any(use in line for line in lines[:40]), use


def test_every_make_target_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {
        t for page in PAGES for t in re.findall(r"^make (\w+)|`make (\w+)`", page.read_text("utf-8"), re.M)
    }
    names = {name for pair in targets for name in pair if name}
    assert {"demo", "test"} <= names
    assert [name for name in names if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    scripts = [ROOT / path for path in re.findall(r"python ((?:tools|benchmarks|docs)/[\w/]+\.py)", text)]
    missing = [str(path) for path in [*(page.parent / link for link in links), *scripts] if not path.exists()]
    assert missing == []
    modules = re.findall(r"python\s+-m\s+(threeages[\w.]+)", text)
    assert [name for name in modules if not find_spec(name)] == []
