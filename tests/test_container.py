"""The steps of the Dockerfile and compose.yaml, as far as they go without an engine."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
STEPS = re.sub(r"\\\n", "", (ROOT / "Dockerfile").read_text()).splitlines()
PROXIES = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:9") | {
    "NO_PROXY": "",
    "no_proxy": "",
}


def _arguments(instruction: str) -> list[str]:
    return [s.partition(" ")[2].strip() for s in STEPS if s.startswith(instruction + " ")]


def _copied() -> list[str]:
    """What the build takes from the checkout."""
    lines = [a for a in _arguments("COPY") if not a.startswith("--from")]
    return [name for line in lines for name in line.split()[:-1]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from exactly the files that the image's build is given, and unpacked."""
    source = tmp_path_factory.mktemp("context")
    for name in _copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", str(out), str(source)], check=True)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(out / "site")
    return out / "site"


def test_what_is_copied_is_let_through() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in _copied():
        path = name.removeprefix("./")
        assert (ROOT / path).exists()
        assert any(fnmatch(path, pattern) for pattern in allowed)


def test_the_image_is_not_root_and_holds_no_torch(installed: Path) -> None:
    (user,) = _arguments("USER")
    assert int(user) >= 1000
    assert all(line.startswith("python:3.11-slim") for line in _arguments("FROM"))
    (install,) = [a for a in _arguments("RUN") if "pip install" in a]
    assert "'.[serve]'" in install
    (found,) = distributions(path=[str(installed)])
    needed = [r for r in found.requires or [] if "extra ==" not in r or "extra == 'serve'" in r]
    assert any(r.startswith("fastapi") for r in needed)
    assert not any(r.startswith(("torch", "matplotlib", "scikit")) for r in needed)


def test_the_entry_point_serves_and_is_healthy(installed: Path, tmp_path: Path) -> None:
    (entry,) = _arguments("ENTRYPOINT")
    command, *options = json.loads(entry)
    assert command == "threeages"
    options[options.index("--port") + 1] = "0"
    # as the console script does, with the unpacked package first and the training stack out of reach
    start = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'matplotlib', 'sklearn']));"
        f"sys.path.insert(0, {str(installed)!r}); from threeages.cli.main import main;"
        f"import threeages; assert threeages.__file__.startswith({str(installed)!r}); main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", start, *options, "--workers", "1"],
        stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        lines = []
        while not lines or not lines[-1].startswith("Listening on "):
            lines.append(process.stderr.readline())
            assert lines[-1], lines
        port = lines[-1].strip().rpartition(":")[2]
        (health,) = [json.loads(s.partition("CMD ")[2]) for s in STEPS if "HEALTHCHECK" in s]
        check = [sys.executable, *health[1:-1], health[-1].replace("8000", port)]
        assert subprocess.run(check, timeout=60, env=os.environ | PROXIES).returncode == 0
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []
    assert subprocess.run(check, stderr=subprocess.DEVNULL, timeout=60).returncode != 0  # it can fail


def test_compose_opens_the_port_to_this_machine_only() -> None:
    (service,) = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].values()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["ports"][0].endswith(":" + _arguments("EXPOSE")[0])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
