"""The package, the interpreter and the machine."""

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from packaging.specifiers import SpecifierSet

from threeages.distribution import NAME, find_version
from threeages.doctor.findings import Finding
from threeages.machine import describe_commit, describe_machine


def check_package() -> Iterator[Finding]:
    """The version of the package, and the commit where it is a checkout."""
    version, commit = find_version(NAME), describe_commit()
    if not version:
        yield Finding(
            NAME,
            "fault",
            "It runs from a folder and is not installed: versions and extras are not known.",
            "Install it: pip install threeages, or pip install -e . in a checkout.",
        )
        return
    found = f"{version}, sources at commit {commit}" if commit else version
    yield Finding(NAME, "ok", found, details={"version": version, "commit": commit})


def check_python() -> Iterator[Finding]:
    """The interpreter against what the package requires, and the machine in words."""
    version = platform.python_version()
    details = {
        "version": version,
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": describe_machine(),
        "bits": 64 if sys.maxsize > 2**32 else 32,
    }
    found = f"{details['implementation']} {version}, {details['platform']}, {details['machine']}"
    if details["bits"] == 32:
        advice = "ONNX Runtime has no build for 32 bits: install a 64-bit Python."
        yield Finding("python", "fault", f"{found}, 32 bits", advice, details)
        return
    required = _required_python()
    if required and not SpecifierSet(required).contains(version, prereleases=True):
        yield Finding("python", "fault", found, f"threeages needs Python {required}.", details)
        return
    yield Finding("python", "ok", found, details=details)


def _required_python() -> str:
    try:
        return metadata.metadata(NAME)["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        return ""
