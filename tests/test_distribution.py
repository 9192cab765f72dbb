from importlib import metadata

import pytest

from threeages.distribution import (
    find_lacks,
    find_version,
    list_extra_requirements,
    list_extras,
    list_installed,
    list_requirements,
)


def _names(requirements: list) -> set[str]:  # type: ignore[type-arg]
    return {requirement.name for requirement in requirements}


def test_the_core_holds_no_extra() -> None:
    assert {"numpy", "onnxruntime"} <= _names(list_requirements())
    assert "fastapi" not in _names(list_requirements())
    assert {"serve", "train"} <= set(list_extras())


def test_an_extra_holds_what_it_adds() -> None:
    found = _names(list_extra_requirements("serve"))
    assert "fastapi" in found
    assert "numpy" not in found


def test_what_is_installed_is_no_lack() -> None:
    requirements = list_requirements()
    assert find_lacks(requirements) == []
    assert find_version("numpy") == metadata.version("numpy") == list_installed()["numpy"]
    assert find_version("no-such-package") == ""


def test_an_absent_distribution_is_said() -> None:
    with pytest.raises(metadata.PackageNotFoundError):
        list_extras("no-such-package")
