"""Threads and memory: what the machine has, what a container allows, and what of it is used."""

import os
from collections.abc import Iterator

from threeages.doctor.container import read_cpu_limit, read_memory_limit
from threeages.doctor.findings import Finding
from threeages.doctor.memory import read_memory
from threeages.files.disk import format_bytes

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LOW_MEMORY = 512 * 10**6  # bytes; the model, its libraries and a batch of large photos


def check_threads() -> Iterator[Finding]:
    """Cores of this process, a limit of its container, and the variables that limit threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = read_cpu_limit()
    variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    details = {"cores": cores, "container_limit": limit, "variables": variables}
    given = "".join(f", {name}={value}" for name, value in variables.items())
    found = f"{cores} of {os.cpu_count()} cores{given}"
    if limit is not None and limit < cores:
        advice = "ONNX Runtime starts a thread for each core: give the container whole cores (its cpuset)."
        text = f"{found}; the container may use the time of {limit:g}"
        yield Finding("threads", "warning", text, advice, details)
        return
    yield Finding("threads", "ok", found, details=details)


def check_memory() -> Iterator[Finding]:
    """Memory of the machine and of its container, and what is available of the smaller."""
    memory, container = read_memory(), read_memory_limit()
    details = {
        "total": memory.total,
        "available": memory.available,
        "container_limit": container.limit,
        "container_used": container.used,
    }
    free = [memory.available] if memory.available is not None else []
    texts = [_describe(memory.total, memory.available)]
    if container.limit is not None and (memory.total is None or container.limit < memory.total):
        left = container.limit - (container.used or 0)
        free.append(left)
        texts.append(
            f"the container is limited to {format_bytes(container.limit)}, {format_bytes(left)} free"
        )
    found = "; ".join(texts)
    if free and min(free) < LOW_MEMORY:
        advice = "Close other programs, or give the container more memory."
        yield Finding("memory", "warning", found, advice, details)
        return
    yield Finding("memory", "ok", found, details=details)


def _describe(total: int | None, available: int | None) -> str:
    if total is None:
        return "the memory of this machine is not known"
    left = "" if available is None else f", {format_bytes(available)} available"
    return f"{format_bytes(total)}{left}"
