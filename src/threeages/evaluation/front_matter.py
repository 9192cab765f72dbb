"""Front matter: the block of YAML before a Markdown text, from which a hub of models reads what they are."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

FENCE = "---"
BLOCK = re.compile(r"---\n.*?\n---\n", re.DOTALL)
PLAIN = re.compile(r"[a-z][a-z0-9_-]*")
NOT_TEXT = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))  # unless quoted


def format_front_matter(data: Mapping[str, Any]) -> str:
    """The block with its fences, of mappings with plain words as keys, lists, text and numbers.

    Text is quoted as in JSON unless it is one plain word, so a name with a colon or a line break stays a
    name. Source: YAML 1.2, of which JSON's scalars are a part.
    """
    return "\n".join((FENCE, *_lines(data), FENCE))


def remove_front_matter(text: str) -> str:
    """The text behind the block, from its first line that is not empty; a text without a block as it is."""
    block = BLOCK.match(text)
    return text[block.end() :].lstrip("\n") if block else text


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _entry(key, item)
    elif isinstance(value, list):
        for item in value:
            first, *others = _lines(item)
            yield f"- {first}"
            yield from (f"  {line}" for line in others)
    else:
        yield _scalar(value)


def _entry(key: str, item: Any) -> Iterator[str]:
    if isinstance(item, Mapping | list):
        yield f"{key}:"
        indent = "  " if isinstance(item, Mapping) else ""
        yield from (f"{indent}{line}" for line in _lines(item))
    else:
        yield f"{key}: {_scalar(item)}"


def _scalar(value: str | int | float) -> str:
    if not isinstance(value, str):
        return json.dumps(value, allow_nan=False)
    if PLAIN.fullmatch(value) and value not in NOT_TEXT:
        return value
    # YAML takes further characters for line breaks or refuses them, which JSON lets stand
    return "".join(c if c.isprintable() else _escape(c) for c in json.dumps(value, ensure_ascii=False))


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"
