"""Limits of containers, in the files that both versions of control groups have."""

from pathlib import Path

import pytest

from threeages.doctor import resources
from threeages.doctor.container import MemoryLimit, read_cpu_limit, read_memory_limit
from threeages.doctor.memory import Memory, read_memory

MB = 10**6


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n", encoding="utf-8")


def test_the_smallest_limit_of_version_2_counts(tmp_path: Path) -> None:
    _write(tmp_path, {
        "own": "0::/a/b",
        "fs/a/memory.max": str(300 * MB), "fs/a/memory.current": str(250 * MB),
        "fs/a/memory.stat": f"anon 7\ninactive_file {100 * MB}",
        "fs/a/b/memory.max": "max", "fs/a/b/cpu.max": "150000 100000", "fs/a/cpu.max": "max 100000",
    })  # fmt: skip
    assert read_memory_limit(tmp_path / "fs", tmp_path / "own") == MemoryLimit(300 * MB, 150 * MB)
    assert read_cpu_limit(tmp_path / "fs", tmp_path / "own") == 1.5


def test_version_1_has_a_folder_for_each_kind(tmp_path: Path) -> None:
    _write(tmp_path, {
        "own": "4:memory:/docker/x\n2:cpu,cpuacct:/docker/x\n0::/",
        "fs/memory/memory.limit_in_bytes": str(2 * 10**9), "fs/memory/memory.usage_in_bytes": str(10**9),
        "fs/memory/docker/x/memory.limit_in_bytes": "9223372036854771712",
        "fs/cpu,cpuacct/docker/x/cpu.cfs_quota_us": "200000",
        "fs/cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000",
        "fs/cpu,cpuacct/cpu.cfs_quota_us": "-1", "fs/cpu,cpuacct/cpu.cfs_period_us": "100000",
    })  # fmt: skip
    assert read_memory_limit(tmp_path / "fs", tmp_path / "own") == MemoryLimit(2 * 10**9, 10**9)
    assert read_cpu_limit(tmp_path / "fs", tmp_path / "own") == 2


def test_a_container_sees_its_limits_at_the_root(tmp_path: Path) -> None:
    """The path is often that outside of it, and does not exist inside."""
    _write(tmp_path, {"own": "0::/../../outside", "fs/memory.max": str(MB), "fs/cpu.max": "50000 100000"})
    assert read_memory_limit(tmp_path / "fs", tmp_path / "own").limit == MB
    assert read_cpu_limit(tmp_path / "fs", tmp_path / "own") == 0.5


@pytest.mark.parametrize("own", ["", "0::/", "nonsense", "4:memory:/x"])
def test_no_limit_is_none(own: str, tmp_path: Path) -> None:
    _write(tmp_path, {"own": own, "fs/memory.max": "max", "fs/cpu.max": "max 100000"})
    assert read_memory_limit(tmp_path / "fs", tmp_path / "own") == MemoryLimit(None, None)
    assert read_cpu_limit(tmp_path / "fs", tmp_path / "own") is None
    assert read_memory_limit(tmp_path / "none", tmp_path / "none") == MemoryLimit(None, None)


def test_the_machine_of_linux_is_read(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(
        "MemTotal:  2000 kB\nMemFree: 3 kB\nMemAvailable:  1000 kB\n", encoding="utf-8"
    )
    assert read_memory(tmp_path / "meminfo") == Memory(2_048_000, 1_024_000)
    assert (read_memory(tmp_path / "none").total or 1) > 0  # another system


@pytest.mark.parametrize(
    ("memory", "limit", "verdict", "part"),
    [
        (Memory(8000 * MB, 4000 * MB), MemoryLimit(None, None), "ok", "8 GB, 4 GB available"),
        (Memory(8000 * MB, 100 * MB), MemoryLimit(None, None), "warning", "100 MB available"),
        (
            Memory(8000 * MB, 4000 * MB),
            MemoryLimit(1000 * MB, 700 * MB),
            "warning",
            "limited to 1 GB, 300 MB free",
        ),
        (Memory(8000 * MB, 4000 * MB), MemoryLimit(16_000 * MB, 1), "ok", "8 GB"),
        (Memory(None, None), MemoryLimit(None, None), "ok", "not known"),
    ],
)
def test_little_memory_is_a_warning(
    memory: Memory, limit: MemoryLimit, verdict: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "read_memory", lambda: memory)
    monkeypatch.setattr(resources, "read_memory_limit", lambda: limit)
    (found,) = resources.check_memory()
    assert found.verdict == verdict
    assert part in found.found
    assert bool(found.advice) == (verdict != "ok")


@pytest.mark.parametrize(("limit", "verdict"), [(None, "ok"), (0.5, "warning"), (9999.0, "ok")])
def test_a_share_of_the_cores_is_a_warning(
    limit: float | None, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "read_cpu_limit", lambda: limit)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    (found,) = resources.check_threads()
    assert found.verdict == verdict
    assert "OMP_NUM_THREADS=3" in found.found
