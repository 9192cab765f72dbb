"""The documentation: fresh, complete, built without a warning and without another address."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from threeages.cli.main import list_commands

ROOT = Path(__file__).parents[1]
DOCS, RESULTS = ROOT / "docs", ROOT / "results"
GENERATE = DOCS / "generate.py"
# what a browser would fetch: of a link only those that load something, and what a style sheet names
LOADS = re.compile(
    r"""<(?:script|img|iframe|source|embed|video|audio)\b[^>]*\bsrc\s*=\s*["']?(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b[^>]*\bhref\s*=\s*["']?(?:https?:)?//[^"'\s>]+"""
    r"""|url\(\s*["']?(?:https?:)?//[^)]+\)|@import\s+["']?(?:https?:)?//[^;]+""",
    re.IGNORECASE,
)


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=300)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    built = _run("-m", "sphinx", "-W", "--keep-going", "-q", "-d", out / "trees", DOCS, out / "html")
    assert built.returncode == 0, built.stderr
    return out / "html"


def test_generated_parts_are_fresh() -> None:
    checked = _run(GENERATE, "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_stale_page_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("generate.py", "tables.py"):
        (tmp_path / "docs" / name).write_text((DOCS / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "results").symlink_to(RESULTS)
    readme = tmp_path / "README.md"
    readme.write_text("<!-- table int8 -->\n| 0.999 |\n<!-- /table -->\n", encoding="utf-8")
    script = tmp_path / "docs" / "generate.py"
    checked = _run(script, "--check")
    assert checked.returncode == 1
    assert "README.md is stale" in checked.stdout
    assert "0.999" in readme.read_text(encoding="utf-8")
    assert _run(script).returncode == 0
    assert "0.9928" in readme.read_text(encoding="utf-8")
    assert _run(script, "--check").returncode == 0


@pytest.mark.parametrize(("name", "command"), list_commands().items(), ids=lambda v: str(v)[:40])
def test_every_command_is_documented(name: str, command: Any) -> None:
    assert command.help
    assert f"\n## {name}\n" in (DOCS / "cli.md").read_text(encoding="utf-8")


@pytest.mark.slow  # builds it
def test_the_card_is_shown_without_its_metadata(site: Path) -> None:
    page = (site / "model-card.html").read_text(encoding="utf-8")
    assert "<h1>Model card: threeages" in page
    assert "pipeline_tag" not in page


@pytest.mark.slow  # builds it
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = [path for path in site.rglob("*") if path.suffix in {".html", ".css"}]
    assert len(pages) > 10
    found = {path.name: loads for path in pages if (loads := LOADS.findall(path.read_text(encoding="utf-8")))}
    assert found == {}


@pytest.mark.parametrize(
    "text",
    ['<script defer src="https://a.example/x.js">', '<link rel="stylesheet" href="//a.example/x.css">',
     "src: url('https://a.example/font.woff2')", '<img alt="" src=http://a.example/x.png>'],
)  # fmt: skip
def test_what_is_loaded_from_elsewhere_is_seen(text: str) -> None:
    assert LOADS.search(text)
    assert not LOADS.search(
        '<a href="https://a.example/paper">, url("data:image/svg+xml,%3Csvg xmlns=\'http://w\'")'
    )


def test_every_page_is_reached_from_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    missing = [path.stem for path in DOCS.glob("*.md") if path.stem != "index" and path.stem not in index]
    assert missing == []


NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def _find_unknown_tests(text: str) -> list[str]:
    """What is named as a test and is none."""
    found = ((ROOT / path, name) for path, name in NAMED_TEST.findall(text))
    return [
        f"{path.name}::{name}"
        for path, name in found
        if not path.exists() or (name and f"\ndef {name}(" not in path.read_text(encoding="utf-8"))
    ]


def test_every_promise_names_tests_that_exist() -> None:
    page = (DOCS / "reliability.md").read_text(encoding="utf-8")
    promised = page.partition("\n## What is promised\n")[2].partition("\n## ")[0]
    rows = [line for line in promised.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 10
    assert [row for row in rows if not NAMED_TEST.search(row.rsplit(" | ", 1)[1])] == []
    assert _find_unknown_tests(page) == []


def test_a_test_that_is_not_there_is_found() -> None:
    assert _find_unknown_tests("`tests/test_docs.py::test_a_promise` and `tests/test_none.py`") == [
        "test_docs.py::test_a_promise",
        "test_none.py::",
    ]
    assert (
        _find_unknown_tests("`tests/test_docs.py::test_a_stale_page_is_found`, `tests/test_kills.py`") == []
    )


def _measured() -> Iterator[float]:
    for path in RESULTS.glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield from (float(v) for cell in row.values() for v in re.findall(r"\d+\.\d+", cell))
    for path in RESULTS.glob("*/*.json"):
        yield from _numbers(json.loads(path.read_text(encoding="utf-8")))


def _numbers(content: Any) -> Iterator[float]:
    if isinstance(content, float):
        yield content
    elif isinstance(content, (dict, list)):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _numbers(part)


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_every_measured_number_is_one_of_the_results(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    shown = set(re.findall(r"(?<![\d.])0\.\d{3,}(?![\d.])", text))  # three digits: a rate that was measured
    measured = list(_measured())
    unknown = [
        number
        for number in shown
        if not any(abs(value - float(number)) <= 0.5001 * 10.0 ** -len(number[2:]) for value in measured)
    ]
    assert unknown == []


def test_the_readme_shows_the_shipped_model() -> None:
    """The first numbers of the README's table are those of the shipped model, not of another row."""
    with (RESULTS / "models.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    shown = re.findall(r"\*\*(0\.\d{3})\*\*", (ROOT / "README.md").read_text(encoding="utf-8"))
    names = ("default, identity-disjoint, 5 folds", "default, held-out UTKFace")
    unseen = [
        row["accuracy"]
        for row in _read_cross_source()
        if (row["recipe"], row["model"], row["held_out"]) == ("default", "all other sources", "mean")
    ]
    expected = [*(rows[name]["accuracy"] for name in names), *unseen]
    assert shown == [f"{float(accuracy):.3f}" for accuracy in expected]


def _read_cross_source() -> list[dict[str, str]]:
    with (RESULTS / "cross-source.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
