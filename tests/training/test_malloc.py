import subprocess
import sys

import pytest

from threeages.training import malloc

CODE = """
import resource, torch
from threeages.training.malloc import keep_freed_memory
keep_freed_memory()
def fill():
    torch.zeros(40 * 2**20 // 4).add_(1)
for _ in range(10):
    fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, resource.getpagesize())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told")
def test_a_large_block_freed_is_not_mapped_again() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    faults, page = map(int, done.stdout.split())
    assert faults < 40 * 2**20 // page  # five times as many, if it were given back each time


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(malloc.sys, "platform", "win32")
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda _: pytest.fail("the C library was asked"))
    malloc.keep_freed_memory()
