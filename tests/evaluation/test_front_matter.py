"""Front matter, read back by a parser of YAML."""

from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from threeages.evaluation.front_matter import format_front_matter, remove_front_matter

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
NUMBERS = st.integers(-1000, 1000) | st.integers(0, 999).map(lambda n: n / 1000)
KEYS = st.sampled_from(("name", "model-index", "license", "f1"))
VALUES = st.recursive(
    TEXT | NUMBERS,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(KEYS, inner, min_size=1),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(KEYS, VALUES, min_size=1))
def test_a_parser_reads_back_what_was_written(data: dict[str, Any]) -> None:
    first, *lines, last = format_front_matter(data).split("\n")
    assert first == last == "---"
    assert "---" not in lines  # which would end the block
    assert yaml.safe_load("\n".join(lines)) == data


@given(st.dictionaries(KEYS, TEXT, min_size=1), TEXT.filter(lambda text: not text.startswith("\n")))
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_text_behind_the_block_is_left(data: dict[str, str], text: str) -> None:
    assert remove_front_matter(f"{format_front_matter(data)}\n\n{text}") == text


def test_a_text_without_a_block_stays() -> None:
    for text in ("", "# Card\n\n---\n\nbelow a rule\n---\n", "---\nno end"):
        assert remove_front_matter(text) == text


def test_words_that_yaml_takes_for_values_stay_text() -> None:
    words = ["yes", "no", "on", "null", "true", "y", "1e3", "0x10", "12:30", "", "~", "- a", "a: b", "---"]
    text = format_front_matter({"tags": words})
    assert yaml.safe_load(text.strip("-\n")) == {"tags": words}


def test_plain_words_are_not_quoted() -> None:
    data = {"license": "apache-2.0", "library_name": "threeages", "results": [{"task": {"type": "a-b"}}, 0.5]}
    assert format_front_matter(data) == (
        '---\nlicense: "apache-2.0"\nlibrary_name: threeages\nresults:\n- task:\n    type: a-b\n- 0.5\n---'
    )
