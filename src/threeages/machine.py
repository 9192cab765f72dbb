"""The machine in words, so that every measured figure says where it was measured."""

import os
import platform
from pathlib import Path


def describe_machine() -> str:
    """Processor and cores this process may use, such as 'AMD EPYC, 2 cores'."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores"


def _processor() -> str:
    try:  # Linux: platform knows no more than the architecture there
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
