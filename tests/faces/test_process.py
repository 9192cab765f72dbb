import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

LIBRARY = """
import json, sys, warnings
import cv2
before = [str(warnings.filters), cv2.getNumThreads()]
import threeages.inference.predictor, threeages.faces.quality, threeages.data.audit
print(json.dumps([before, [str(warnings.filters), cv2.getNumThreads()]]))
"""
PROGRAM = """
import json, os, subprocess, sys
from threeages.faces.process import configure_process
if "first" in sys.argv:
    import cv2
configure_process()
assert ("cv2" in sys.modules) == ("first" in sys.argv)
import cv2
from pathlib import Path
from threeages.errors import ImageError
from threeages.faces.images import load_image
try:
    load_image(Path(sys.argv[1]), min_side=10_000)  # stops after the header
except ImageError as error:
    assert error.status == "too_small"
child = [sys.executable, "-c", "import cv2; print(cv2.getNumThreads())"]
print(json.dumps([cv2.getNumThreads(), int(subprocess.check_output(child))]))
"""


def _run(*command: str) -> tuple[Any, str]:
    done = subprocess.run([sys.executable, "-c", *command], capture_output=True, text=True, check=True)
    return json.loads(done.stdout), done.stderr


@pytest.fixture
def odd_image(tmp_path: Path) -> Path:
    """An image with more pixels than Pillow opens without a warning, and fewer than MAX_PIXELS."""
    path = tmp_path / "odd.png"
    Image.new("1", (9_500, 9_500)).save(path)
    return path


@pytest.mark.slow
def test_the_library_leaves_its_process_alone() -> None:
    (before, after), _ = _run(LIBRARY)
    assert before == after


@pytest.mark.slow
@pytest.mark.parametrize("order", ["first", "later"])
def test_a_program_has_one_thread_and_no_warnings(odd_image: Path, order: str) -> None:
    threads, stderr = _run(PROGRAM, str(odd_image), order)
    assert threads == [1, 1]
    assert stderr == ""


@pytest.mark.slow
def test_without_it_pillow_warns(odd_image: Path) -> None:
    program = PROGRAM.replace("configure_process()", "").replace("assert (", "(")
    assert "DecompressionBombWarning" in _run(program, str(odd_image), "later")[1]
