"""The words of a dialect of our own, in which no known technique can be found, stay out."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = (
    r"anew\b",
    r"wished\b",
    r"so many\b",
    r"who calls\b",
    r"people never seen\b",
    r"goes on where\b",
    r"towers?\b",
    r"lessons?\b",
    r"taught\b",
    r"twins?\b",
    r"straddl",
    r"in 8 bits\b",
)
SUFFIXES = {".py", ".js", ".html", ".css", ".md"}


def _pattern(word: str) -> re.Pattern[str]:
    """The word in any case, also after an underscore, inside a name of capitals and over a line's end."""
    word = word.replace(" ", r"[\s#*]+").replace(r"\b", r"(?![a-z])")
    inside = word[0].upper() + word[1:]
    return re.compile(rf"(?i:(?<![a-z]){word})|(?<=[a-z]){inside}")


PATTERNS = [_pattern(word) for word in FORBIDDEN]


def _find(text: str) -> list[str]:
    return [match[0] for pattern in PATTERNS for match in pattern.finditer(text)]


def _files() -> Iterator[Path]:
    yield from (ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"))
    for folder in ("src", "docs"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and "_build" not in path.parts:
                yield path


@pytest.mark.parametrize("path", _files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_speaks_the_words_of_the_field(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [f"line {i}: {words}" for i, line in enumerate(lines, start=1) if (words := _find(line))]
    assert not found, "\n".join(found)
    assert not _find("\n".join(lines))  # over the end of a line


@pytest.mark.parametrize(
    "text",
    ["the image tower", "TOWER = 1", "image_towers", "FeatureLesson", "Twins", "exact twin", "straddling",
     "Anew", "so\n# many", "error rate wished for", "in 8 bits"],
)  # fmt: skip
def test_a_word_is_found_in_every_form(text: str) -> None:
    assert _find(text)


@pytest.mark.parametrize(
    "text", ["canew", "twine check", "towering", "unlessoned", "so manyfold", "in 8 bitsets"]
)
def test_other_words_are_let_through(text: str) -> None:
    assert not _find(text)
