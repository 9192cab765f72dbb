"""The curl commands and the Python block of docs/serving.md, run as they are written."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

TEXT = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture
def folder(tmp_path: Path, portrait: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for path in (tmp_path / "a.jpg", tmp_path / "photos" / "a.jpg"):
        shutil.copy(portrait, path)
    Image.new("RGB", (90, 90)).save(tmp_path / "b.png")
    return tmp_path


@pytest.fixture(scope="module")
def watching(start_service: Callable[..., Any]) -> Iterator[str]:
    """The service that takes labels."""
    with start_service("--max-error", "0.15") as (address, _):
        yield address


@pytest.mark.parametrize("command", COMMANDS)
def test_every_curl_command_is_answered(command: str, request: pytest.FixtureRequest, folder: Path) -> None:
    if not (shutil.which("curl") and shutil.which("bash")):
        pytest.skip("curl or bash is not installed")
    service = request.getfixturevalue("watching" if "/v1/labels" in command else "service")
    run = command.replace("localhost:8000", service.removeprefix("http://")).replace("curl ", "curl -sS -f ")
    done = subprocess.run(["bash", "-c", run], cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"status":"ok"' in done.stdout or "/predict" not in command or "Accept" in command
    assert done.stdout


def test_the_python_blocks_run(
    service: str,
    watching: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(folder)
    shown = ("photos/a.jpg ok ", "None\n")
    for code, address, words in zip(blocks, (service, watching), shown, strict=True):
        exec(compile(code.replace("http://127.0.0.1:8000", address), "serving.md", "exec"), {})
        assert capsys.readouterr().out.startswith(words)


def test_every_route_is_documented(service: str) -> None:
    for path in httpx.get(f"{service}/openapi.json").json()["paths"]:
        assert path in TEXT
