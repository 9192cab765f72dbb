import resource
import subprocess
import sys

import pytest

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
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told")
def test_a_large_block_freed_is_not_mapped_again() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    pages = 40 * 2**20 // resource.getpagesize()
    assert int(done.stdout) < pages  # five times as many, if it were given back each time
