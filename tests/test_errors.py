import inspect

import pytest

from threeages import errors
from threeages.errors import ImageError, MissingDependencyError, ThreeAgesError


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
