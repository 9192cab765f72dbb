"""What the metadata of this installation says: the extras, what each requires, and what of it is there."""

from collections.abc import Iterable
from importlib import metadata
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NAME = "threeages"


class Lack(NamedTuple):
    """A requirement that is not met, and the version that is installed; '' where there is none."""

    requirement: Requirement
    installed: str


def list_extras(name: str = NAME) -> list[str]:
    """The extras of a distribution; raises importlib.metadata.PackageNotFoundError where it is absent."""
    return metadata.metadata(name).get_all("Provides-Extra") or []


def list_requirements(name: str = NAME, extras: Iterable[str] = ()) -> list[Requirement]:
    """What a distribution requires on this machine, and for some of its extras; no extras: its core.

    Raises importlib.metadata.PackageNotFoundError where the distribution is absent.
    """
    found = [Requirement(text) for text in metadata.requires(name) or []]
    wanted = list(extras) or [""]
    return [
        requirement
        for requirement in found
        if requirement.marker is None
        or any(requirement.marker.evaluate({"extra": extra}) for extra in wanted)
    ]


def list_extra_requirements(extra: str, name: str = NAME) -> list[Requirement]:
    """What an extra requires on this machine beyond the core, and beyond extras that it names itself."""
    core = {str(requirement) for requirement in list_requirements(name)}
    found = [each for each in list_requirements(name, [extra]) if str(each) not in core]
    own = [each for each in found if canonicalize_name(each.name) == canonicalize_name(name)]
    nested = [more for each in own for inner in each.extras for more in list_extra_requirements(inner, name)]
    return [*(each for each in found if each not in own), *nested]


def find_lacks(requirements: Iterable[Requirement]) -> list[Lack]:
    """Those requirements that are not installed, or in another version."""
    return [lack for each in requirements if (lack := _find_lack(each))]


def _find_lack(requirement: Requirement) -> Lack | None:
    version = find_version(requirement.name)
    if version and requirement.specifier.contains(version, prereleases=True):
        return None
    return Lack(requirement, version)


def find_version(name: str) -> str:
    """The version of a distribution that is installed; '' where there is none."""
    try:
        return metadata.version(name) or ""
    except metadata.PackageNotFoundError:
        return ""


def list_installed() -> dict[str, str]:
    """The versions of all distributions of this environment by their names, in the order of these."""
    names = {each.metadata["Name"]: each.version for each in reversed(list(metadata.distributions()))}
    found = {canonicalize_name(name): version for name, version in names.items() if name and version}
    return dict(sorted(found.items()))
