"""Limits of a container on Linux: memory and processor time of its control groups, version 1 and 2.

A limit holds for all groups below it, so that the smallest on the way to the root counts. The files are those
of docs.kernel.org/admin-guide/cgroup-v2.html and of cgroup-v1/memory.html.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
UNLIMITED = 2**60  # bytes; version 1 writes the largest number of pages where there is no limit


class MemoryLimit(NamedTuple):
    """Bytes that a container may use, and those that it uses and cannot free at once; None: no limit."""

    limit: int | None
    used: int | None


def read_memory_limit(root: Path = ROOT, own: Path = OWN) -> MemoryLimit:
    """The smallest limit of memory of this process's groups, with what is used in that group."""
    found = []
    for folder in _list_folders(root, own, "memory"):
        limit = _read_number(folder / "memory.max", folder / "memory.limit_in_bytes")
        if limit is not None and limit < UNLIMITED:
            used = _read_number(folder / "memory.current", folder / "memory.usage_in_bytes")
            found.append((limit, None if used is None else max(0, used - _read_cached(folder))))
    return MemoryLimit(*min(found, key=lambda pair: pair[0])) if found else MemoryLimit(None, None)


def read_cpu_limit(root: Path = ROOT, own: Path = OWN) -> float | None:
    """The processors whose time this process's groups may use, such as 1.5; None without a limit."""
    shares = [_read_share(folder) for folder in _list_folders(root, own, "cpu")]
    smallest = min(shares, default=math.inf)
    return None if math.isinf(smallest) else smallest


def _list_folders(root: Path, own: Path, kind: str) -> Iterator[Path]:
    """The folders of this process's groups, up to the root: '0::/path' or '4:memory:/path' a line.

    In a container the path is often that outside of it: what does not exist is left out.
    """
    for line in _read(own).splitlines():
        _, kinds, path = [*line.split(":", 2), "", ""][:3]
        if kinds and kind not in kinds.split(","):
            continue
        top = root / kinds if kinds and (root / kinds).is_dir() else root / kind if kinds else root
        group = top / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder == top or top in folder.parents)


def _read_share(folder: Path) -> float:
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    if not quota:
        quota, period = (_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # 'max', or no such file
        return math.inf
    return share if share > 0 else math.inf  # version 1 writes -1


def _read_cached(folder: Path) -> int:
    """Bytes of files that are kept in memory and given up when others need it."""
    lines = (line.split() for line in _read(folder / "memory.stat").splitlines())
    found = {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
    return found.get("total_inactive_file", found.get("inactive_file", 0))


def _read_number(*paths: Path) -> int | None:
    texts = (_read(path) for path in paths)
    return next((int(text) for text in texts if text.isdigit()), None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
