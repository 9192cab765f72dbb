"""A service in this process with one worker, a real one as its own process, and portraits of free use."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from threeages.demo import find_portraits
from threeages.faces.yunet import YuNet
from threeages.inference.predictor import Predictor
from threeages.inference.runtime import OnnxModel, default_model_path
from threeages.server.app import create_app
from threeages.server.settings import Settings

COMMAND = [sys.executable, "-m", "threeages"]


@pytest.fixture(scope="session")
def portrait() -> Path:
    portraits = find_portraits()
    if not portraits:
        pytest.skip("no portrait: install matplotlib or scikit-image")
    return portraits[0]


@pytest.fixture(scope="session")
def offline() -> Predictor:
    return Predictor(OnnxModel(default_model_path()), YuNet())


@pytest.fixture(scope="session")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(default_model_path(), Settings(workers=1))) as client:
        yield client


@pytest.fixture(scope="session")
def tight_client() -> Iterator[TestClient]:
    """A service whose every limit is small."""
    settings = Settings(
        workers=1, max_body=200_000, max_images=2, max_fields=1, max_pixels=400_000, queue_size=2
    )
    with TestClient(create_app(default_model_path(), settings)) as client:
        yield client


@contextmanager
def running_service(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address and process of `threeages serve` on a free port; ended with the block."""
    command = [*COMMAND, "serve", "--port", "0", "--workers", "1", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        seen = []
        for line in process.stderr:
            seen.append(line)
            if line.startswith("Listening on "):
                break
        else:
            pytest.fail(f"the service did not start: {seen}")
        yield line.split()[-1], process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)  # reads what is left, so that a full pipe cannot block its end


@pytest.fixture(scope="session")
def start_service() -> Callable[..., object]:
    return running_service


@pytest.fixture(scope="session")
def service() -> Iterator[str]:
    with running_service() as (address, _):
        yield address
