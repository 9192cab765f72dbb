import inspect

import pytest

from threeages import errors
from threeages.errors import (
    ImageError,
    MissingDependencyError,
    ThreeAgesError,
    describe_cause,
    format_count,
    list_causes,
)


def test_hint_follows_on_its_own_line() -> None:
    assert str(ThreeAgesError("It broke.", hint="Repair it.")) == "It broke.\n  Repair it."
    assert str(ThreeAgesError("It broke.")) == "It broke."


def test_every_error_is_caught_by_the_base() -> None:
    found = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    assert len(found) >= 6
    assert all(issubclass(c, ThreeAgesError) for c in found)


def test_missing_part_names_the_command() -> None:
    with pytest.raises(ThreeAgesError, match=r"pip install 'threeages\[train\]'"):
        raise MissingDependencyError("torch", "train")


def test_image_error_carries_its_status() -> None:
    error = ImageError("truncated", "Half a file.", hint="Copy it again.")
    assert (error.status, error.message, error.hint) == ("truncated", "Half a file.", "Copy it again.")


class _OwnError(Exception):
    pass


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (OSError("Truncated File Read"), "truncated file read"),  # Pillow's
        (OSError(28, "No space left on device", "x.jpg"), "No space left on device"),
        (FileNotFoundError(2, "No such file or directory"), "No such file or directory"),
        (ValueError("It ended."), "It ended"),
        (
            RuntimeError("Error(s) in loading:\n\tsize mismatch for x."),
            "Error(s) in loading: size mismatch for x",
        ),
        (KeyError("model"), "'model' is missing"),
        (EOFError(), "it ends early"),
        (MemoryError(), "there is not enough memory"),
        (TimeoutError(), "it took too long"),
        (ConnectionResetError(), "the connection was lost"),
        (_OwnError(), "no reason was given (_OwnError)"),
        (ValueError("broken PNG file (chunk b'IDAT')"), "broken PNG file (chunk b'IDAT')"),
        ("", "no reason was given"),
        ("Value error, at most 3 ...", "Value error, at most 3"),
        ("x" * 400, "x" * 300),
    ],
)
def test_a_cause_ends_a_sentence(cause: BaseException | str, text: str) -> None:
    assert describe_cause(cause) == text


@pytest.mark.parametrize(
    ("things", "words", "text"),
    [
        (1, ("image",), "1 image"),
        (0, ("image",), "0 images"),
        ([1, 2], ("row",), "2 rows"),
        (1200, ("identity", "identities"), "1,200 identities"),
        ({"a"}, ("identity", "identities"), "1 identity"),
    ],
)
def test_numbers_have_their_noun(things: int | list[int], words: tuple[str, ...], text: str) -> None:
    assert format_count(things, *words) == text


def test_causes_end_with_what_it_began_with() -> None:
    with pytest.raises(RuntimeError) as raised:
        _fail_in_turn()
    assert [type(error) for error in list_causes(raised.value)] == [RuntimeError, KeyError, OSError]
    assert describe_cause(list(list_causes(raised.value))[-1]) == "Connection refused"


def _fail_in_turn() -> None:
    try:
        try:
            raise OSError("[Errno 111] Connection refused")
        except OSError as error:
            raise KeyError("a") from error
    except KeyError:
        raise RuntimeError  # noqa: B904 - the cause is what is read
