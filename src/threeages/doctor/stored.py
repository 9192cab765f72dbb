"""The files that answers depend on and the caches, compared with their checksums; nothing is written."""

import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from platformdirs import user_cache_path

from threeages.bundled import ASSETS, CHECKSUMS, check_bundled
from threeages.doctor.findings import Finding, hide_home
from threeages.errors import format_count
from threeages.files.atomic import PART
from threeages.files.disk import FULL_BELOW, format_bytes

PATIENCE = 5.0  # seconds in which caches are read; what is left then is named, not read
STATES = VERIFIED, UNFINISHED, UNREAD = "verified", "unfinished", "not read"


def check_bundled_files() -> Iterator[Finding]:
    """The files in the package; raises ModelError, which says what to do, for one that is damaged."""
    for name in CHECKSUMS:
        check_bundled(ASSETS / name)
    found = ", ".join(f"{name} ({value.partition('-')[0]})" for name, value in CHECKSUMS.items())
    yield Finding("files", "ok", f"as released: {found}", details=dict(CHECKSUMS))


def check_large_model() -> Iterator[Finding]:
    """The large model where it was fetched; raises ModelError, which says what to do, where it is damaged."""
    from threeages.files.checksums import checksum
    from threeages.inference.named import FETCH, LARGE_MODEL

    if not LARGE_MODEL.path.exists():
        yield Finding("large model", "ok", "not fetched", f"To get it: {FETCH}", {"path": None})
        return
    path = LARGE_MODEL.find()
    value = checksum(path)
    details = {"path": hide_home(str(path)), "checksum": value}
    yield Finding("large model", "ok", f"{hide_home(str(path))} ({value})", details=details)


def check_caches() -> Iterator[Finding]:
    """Cached pixels, features and archives against their checksums, the smallest first."""
    folder = user_cache_path("threeages")
    sizes = _find_entries(folder)
    states = _check_entries(sizes)
    details = {
        "folder": hide_home(str(folder)),
        "entries": [
            {"path": hide_home(str(path)), "size": sizes[path], "state": states[path]} for path in sizes
        ],
    }
    count = format_count(sizes, "cached set", "cached sets")
    found = f"{hide_home(str(folder))}: {count}, {format_bytes(sum(sizes.values()))}"
    unread = sum(state == UNREAD for state in states.values())
    if unread:
        found += f"; {unread} too large to be read now, they are compared when they are used"
    damaged = [path for path, state in states.items() if state not in STATES]
    if damaged:
        names = ", ".join(f"{hide_home(str(path))} ({states[path]})" for path in damaged)
        advice = "It is built again when it is needed; threeages data cache --clear deletes all of them."
        yield Finding("caches", "warning", f"{found}; damaged: {names}", advice, details)
    elif (free := _find_room(folder)) < FULL_BELOW:
        yield Finding("caches", "warning", f"{found}; the disk is full", "Make room.", details)
    else:
        yield Finding("caches", "ok", f"{found}; {format_bytes(free)} free on the disk", details=details)


def _find_entries(folder: Path) -> dict[Path, int]:
    """Every cached set and unpacked archive with its bytes, the smallest first."""
    from threeages.data.stored.entries import CHECKSUMS as OF_ENTRY
    from threeages.data.stored.listed import find_stored

    sizes = {stored.path: stored.size for stored in find_stored()}
    sizes |= {file.parent: _measure(file.parent) for file in folder.glob(f"*/{OF_ENTRY}")}
    return dict(sorted(sizes.items(), key=lambda pair: pair[1]))


def _check_entries(paths: Iterable[Path]) -> dict[Path, str]:
    """The state of each: one of STATES, or the name of a file that is damaged."""
    from threeages.data.stored.entries import find_damage

    started, states = time.monotonic(), {}
    for path in paths:
        if path.suffix == PART:
            states[path] = UNFINISHED
        elif time.monotonic() - started > PATIENCE:
            states[path] = UNREAD
        else:
            states[path] = find_damage(path) or VERIFIED
    return states


def _measure(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _find_room(folder: Path) -> int:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free
