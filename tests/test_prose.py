"""Every error message of the package is a sentence, held over the source of each place that raises one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import threeages

SOURCE = Path(threeages.__file__).parent
OWN = {
    "ThreeAgesError", "ConfigError", "DataError", "ModelError", "ImageError", "ServiceError", "BusyError",
    "RequestError", "MissingDependencyError",
}  # fmt: skip
WORDED = OWN - {"MissingDependencyError"}  # it makes its message itself
END = (".", "?")
# a noun behind a number that a name stands for: 'two of them' needs format_count
COUNTED = re.compile(r"^ (rows|images|files|faces|inputs|identities|folds|predictions|paths|pixels) ?\b")


def _calls() -> Iterator[tuple[str, ast.Call]]:
    """(place, call) of every error of our own that is made with a message."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in WORDED:
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", node


def _caught() -> Iterator[tuple[str, str, ast.ExceptHandler]]:
    """(place, name, handler) of every exception that is caught under a name."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            alone = path.name == "install.py"  # of a bundle: it has nothing of the package to call
            if isinstance(node, ast.ExceptHandler) and node.name and not _is_own(node) and not alone:
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", node.name, node


def _is_own(handler: ast.ExceptHandler) -> bool:
    """Whether it catches an error of ours, whose text is a sentence already."""
    return isinstance(handler.type, ast.Name) and handler.type.id in OWN


CALLS = list(_calls())
CAUGHT = list(_caught())


def _message(call: ast.Call) -> ast.expr | None:
    """The message of an error: its first text, behind the status of an ImageError or a RequestError."""
    status = isinstance(call.func, ast.Name) and call.func.id in {"ImageError", "RequestError"}
    return call.args[int(status)] if len(call.args) > int(status) else None


def _ends(text: ast.expr | None) -> str | None:
    """The characters that a text ends with where they stand in the source."""
    if isinstance(text, ast.BinOp):
        return _ends(text.right)
    if isinstance(text, ast.JoinedStr) and text.values:
        text = text.values[-1]
    return str(text.value) if isinstance(text, ast.Constant) else None


def test_the_places_are_found() -> None:
    assert len(CALLS) > 100
    assert len(CAUGHT) > 40
    assert sum(_ends(_message(call)) is not None for _, call in CALLS) > 90


@pytest.mark.parametrize(("place", "call"), CALLS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_message_is_a_sentence(place: str, call: ast.Call) -> None:
    end = _ends(_message(call))
    if end is not None:
        assert end.rstrip().endswith(END), f"{place} ends with {end[-20:]!r}"
    first = _message(call)
    if isinstance(first, ast.Constant):
        assert first.value[:1].isupper() or first.value.startswith(("images.", "--")), place
    for keyword in call.keywords:
        hint = _ends(keyword.value) if keyword.arg == "hint" else None
        if hint and "threeages" not in hint:  # a command ends a hint without a period
            assert hint.rstrip().endswith(END), f"{place}: the hint ends with {hint[-20:]!r}"


@pytest.mark.parametrize(("place", "call"), CALLS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_number_has_its_noun_in_the_right_form(place: str, call: ast.Call) -> None:
    for text in ast.walk(call):
        if not isinstance(text, ast.JoinedStr):
            continue
        for value, after in zip(text.values, text.values[1:], strict=False):
            if not (isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant)):
                continue
            counted = COUNTED.match(str(after.value)) and "len(" in ast.unparse(value)
            assert not counted, f"{place}: {ast.unparse(value)}{after.value}"


@pytest.mark.parametrize(
    ("place", "name", "handler"), CAUGHT, ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_text_of_another_library_goes_through_one_place(
    place: str, name: str, handler: ast.ExceptHandler
) -> None:
    """A caught exception, its strerror or its class in a text of ours only by describe_cause."""
    for text in ast.walk(handler):
        if not isinstance(text, ast.FormattedValue):
            continue
        shown = ast.unparse(text.value)
        is_own = re.fullmatch(rf"{name}\.(message|hint|name|detail).*", shown)
        if (
            re.search(rf"\b{name}\b", shown)
            and not is_own
            and not shown.startswith("MissingDependencyError(")
        ):
            assert shown.startswith("describe_cause("), f"{place}: {shown}"


@pytest.mark.parametrize(("place", "call"), CALLS, ids=lambda value: value if isinstance(value, str) else "")
def test_an_error_says_what_to_do_next(place: str, call: ast.Call) -> None:
    """All but the refusals of the service, whose status says it, and those that repeat another error's."""
    if isinstance(call.func, ast.Name) and call.func.id not in {"BusyError", "RequestError", "ServiceError"}:
        assert any(keyword.arg == "hint" for keyword in call.keywords), place
