"""The memory of a machine, as far as its system tells without another library."""

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

MEMINFO = Path("/proc/meminfo")  # of Linux


class Memory(NamedTuple):
    """Bytes of the machine, and those that a program can get; None where the system does not tell."""

    total: int | None
    available: int | None


def read_memory(meminfo: Path = MEMINFO) -> Memory:
    """The machine's memory; of systems other than Linux with psutil where that is installed."""
    if meminfo.exists():
        found = dict(re.findall(r"^(\w+):\s+(\d+) kB", meminfo.read_text(encoding="utf-8"), re.MULTILINE))
        return Memory(_bytes(found, "MemTotal"), _bytes(found, "MemAvailable"))
    if find_spec("psutil"):
        import psutil

        memory = psutil.virtual_memory()
        return Memory(int(memory.total), int(memory.available))
    try:
        return Memory(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), None)
    except (AttributeError, ValueError, OSError):
        return Memory(None, None)


def _bytes(found: dict[str, str], name: str) -> int | None:
    return 1024 * int(found[name]) if name in found else None
