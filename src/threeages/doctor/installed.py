"""Libraries and extras against the metadata of the package, and builds that overwrite each other."""

from collections.abc import Iterator, Sequence

from packaging.utils import canonicalize_name

from threeages.distribution import (
    Lack,
    find_lacks,
    find_version,
    list_extra_requirements,
    list_extras,
    list_requirements,
)
from threeages.doctor.findings import Finding
from threeages.faces.opencv import describe_repair
from threeages.machine import ONNX_RUNTIME, OPENCV, list_versions

ALTERNATIVES = (OPENCV, ONNX_RUNTIME)  # of which any one will do
DEVELOPERS = ("dev", "docs")  # extras for work on the package itself


def check_libraries() -> Iterator[Finding]:
    """The versions of the libraries that every answer needs."""
    required = list_requirements()
    versions = {each.name: find_version(each.name) for each in required}
    versions |= {name: version for names in ALTERNATIVES for name, version in list_versions(names).items()}
    versions = {name: version for name, version in versions.items() if version}
    found = ", ".join(f"{name} {version}" for name, version in versions.items())
    lacks = [lack for lack in find_lacks(required) if not _has_alternative(lack)]
    if not lacks:
        yield Finding("libraries", "ok", found, details=versions)
        return
    missing = "; ".join(_describe(lack) for lack in lacks)
    advice = f"Run: pip install {' '.join(_quote(lack) for lack in lacks)}"
    yield Finding("libraries", "fault", f"{missing}. Installed: {found or 'none'}", advice, versions)


def _has_alternative(lack: Lack) -> bool:
    """Whether another build of the library is there: no metadata can say 'any one of these'."""
    name = canonicalize_name(lack.requirement.name)
    return not lack.installed and any(name in names and list_versions(names) for names in ALTERNATIVES)


def check_extras() -> Iterator[Finding]:
    """The extras that are installed, and for each of the others the command that gets it."""
    lacking = {extra: find_lacks(list_extra_requirements(extra)) for extra in _list_extras()}
    whole = [extra for extra, lacks in lacking.items() if not lacks]
    yield Finding("extras", "ok", f"installed: {', '.join(whole) or 'none'}", details={"installed": whole})
    for extra, lacks in lacking.items():
        if lacks:
            yield _describe_extra(extra, lacks)


def _list_extras() -> list[str]:
    return sorted(extra for extra in list_extras() if extra not in DEVELOPERS)


def _describe_extra(extra: str, lacks: Sequence[Lack]) -> Finding:
    """A missing extra is no fault; a library in another version than it needs is worth a warning."""
    name, advice = f"extra {extra}", f"To get it: pip install 'threeages[{extra}]'"
    details = {"lacks": [str(lack.requirement) for lack in lacks]}
    outdated = [lack for lack in lacks if lack.installed]
    if outdated:
        return Finding(name, "warning", "; ".join(map(_describe, outdated)), advice, details)
    missing = ", ".join(dict.fromkeys(lack.requirement.name for lack in lacks))
    return Finding(name, "ok", f"not installed: lacks {missing}", advice, details)


def check_builds() -> Iterator[Finding]:
    """Whether two builds of one library lie over each other: the one installed last is in use, or neither."""
    for names, folder in ((OPENCV, "cv2"), (ONNX_RUNTIME, "onnxruntime")):
        found = list_versions(names)
        if len(found) < 2:
            continue
        both = " and ".join(f"{name} {version}" for name, version in found.items())
        advice = f"Run: {describe_repair(list(found))}"
        yield Finding(
            folder, "warning", f"{both} are both installed and write the same folder.", advice, found
        )


def _describe(lack: Lack) -> str:
    requirement = lack.requirement
    needed = f"{requirement.name}{requirement.specifier}"
    return f"{needed} is needed, {lack.installed} is installed" if lack.installed else f"{needed} is missing"


def _quote(lack: Lack) -> str:
    return f"'{lack.requirement.name}{lack.requirement.specifier}'"
