"""Nothing is looked up, contacted or written but for what docs/inputs.md names: seen in the system calls."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from threeages.demo import find_portraits

pytestmark = [
    pytest.mark.slow,  # processes of their own, traced
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the caches' folders are those of Linux"),
]

DOCS = Path(__file__).parents[1] / "docs" / "inputs.md"
COMMAND = [sys.executable, "-m", "threeages"]
FILE_CALLS = (
    "open", "openat", "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat",
    "symlink", "symlinkat",
)  # fmt: skip
CALLS = f"trace=%network,{','.join(FILE_CALLS)}"
CALL = re.compile(r"^\d+\s+(\w+)\((.*)")
PATH = re.compile(r'(?:\d+<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"')
LOOPBACK = re.compile(r"127\.|::1$|::ffff:127\.")
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")
LOOKUPS = ("/etc/resolv.conf", "/run/systemd/resolve/io.systemd.Resolve")
HOME_FOLDERS = (".cache/threeages", ".cache/matplotlib", ".config/matplotlib")


def _has_tracer() -> bool:
    """Whether strace is there and may trace, which some containers forbid."""
    if not shutil.which("strace"):
        return False
    return (
        subprocess.run(
            ["strace", "-f", "--seccomp-bpf", "-qq", "-o", os.devnull, "true"], capture_output=True
        ).returncode
        == 0
    )


@dataclass(frozen=True)
class Place:
    """A fresh home, folder for temporary files and working folder, and the trace of what ran in them."""

    root: Path

    @property
    def work(self) -> Path:
        return self.root / "work"

    def start(self, command: Sequence[str | Path]) -> subprocess.Popen[str]:
        """Start a command here, traced where that is possible, in an environment that is not that of CI."""
        for name in ("home", "tmp", "work"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        tracer = [
            "strace",
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-y",
            "-s",
            "300",
            "-e",
            CALLS,
            "-o",
            self.root / "trace",
        ]
        environment = {"HOME": str(self.root / "home"), "TMPDIR": str(self.root / "tmp")}
        environment |= {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*map(str, tracer if _has_tracer() else []), *map(str, command)],
            cwd=self.work, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *command: str | Path) -> str:
        """Run a command to its end; what it printed."""
        process = self.start(command)
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        return out

    def check(self) -> None:
        """Fail on a look-up, on a connection beyond loopback and on a file that the docs do not name."""
        found = [path for path in (self.root / "home").rglob("*") if path.is_file()]
        assert [path for path in found if not self._is_allowed(path)] == []
        if not _has_tracer():
            pytest.skip("strace is missing or may not trace: only the files in the home were checked")
        contacts, files = read_trace((self.root / "trace").read_text(errors="replace"), self.work)
        assert contacts == []
        assert [path for path in files if not self._is_allowed(path)] == []

    def _is_allowed(self, path: Path) -> bool:
        home = self.root / "home"
        allowed = [
            self.root / "tmp",
            self.work,
            Path("/dev"),
            Path("/proc"),
            *(home / f for f in HOME_FOLDERS),
        ]
        return any(path.is_relative_to(folder) for folder in allowed) or path in (
            home / ".cache",
            home / ".config",
        )


def read_trace(text: str, work: Path) -> tuple[list[str], list[Path]]:
    """The look-ups and addresses beyond loopback in the lines of strace, and the paths that are written."""
    contacts, files = [], []
    for line in text.splitlines():
        if not (call := CALL.match(line)):
            continue
        name, arguments = call.groups()
        if address := ADDRESS.search(arguments):
            port, host = address.groups()
            if port == "53" or not LOOPBACK.match(host):
                contacts.append(line)
        if any(path in arguments for path in LOOKUPS):
            contacts.append(line)
        elif name in FILE_CALLS and (not name.startswith("open") or WRITES.search(arguments)):
            files += [_join(work, folder, path) for folder, path in PATH.findall(arguments)]
    return contacts, files


def _join(*parts: str | Path) -> Path:
    """The path without steps upwards, as `Path.is_relative_to` compares it as it is written."""
    return Path(os.path.normpath(Path(*parts)))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


@pytest.fixture(scope="session")
def portrait() -> Path:
    portraits = find_portraits()
    if not portraits:
        pytest.skip("no portrait: install matplotlib or scikit-image")
    return portraits[0]


def test_predict(place: Place, portrait: Path, faces_dir: Path) -> None:
    out = place.run(*COMMAND, "predict", portrait, faces_dir, "--jsonl")
    assert json.loads(out.splitlines()[0])["status"] == "ok"
    place.check()


@contextmanager
def _serving(place: Place) -> Iterator[str]:
    """The address of the service; ended with the block."""
    process = place.start([*COMMAND, "serve", "--port", "0", "--workers", "2"])
    assert process.stderr is not None
    try:
        yield next(line for line in process.stderr if line.startswith("Listening on ")).split()[-1]
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Ask the service to stop, which is the tracer's child where there is one: that takes no signal."""
    child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child[0]) if _has_tracer() else process.pid, signal.SIGTERM)
    process.communicate(timeout=60)


def test_serve(place: Place, portrait: Path) -> None:
    with _serving(place) as address:
        request = urllib.request.Request(f"{address}/v1/predict", portrait.read_bytes())
        request.add_header("Content-Type", "image/jpeg")
        with urllib.request.urlopen(request, timeout=60) as reply:
            assert json.load(reply)["records"][0]["status"] == "ok"
    place.check()


def test_train_and_export(place: Place, faces_csv: Path) -> None:
    """ONNX Runtime computes the frozen features, and processes from a fork server fill the pixel cache."""
    place.run(*COMMAND, "train", faces_csv, "--epochs", "1", "--out", "run")
    place.check()
    place.run(*COMMAND, "export", "run", "--out", "model.onnx")
    assert (place.work / "model.onnx").stat().st_size
    place.check()


def test_a_search(place: Place, faces_csv: Path) -> None:
    place.run(
        *COMMAND, "tune", faces_csv, "--trials", "1", "--epochs", "1", "--size", "96", "--out", "search"
    )
    place.check()


def test_models_are_listed_without_a_connection(place: Place) -> None:
    assert "default " in place.run(*COMMAND, "models")
    place.check()


def test_the_doctor(place: Place) -> None:
    """It starts processes that load every library, and writes no file at all."""
    assert "\n0 faults, " in place.run(*COMMAND, "doctor")
    assert [path for path in place.root.rglob("*") if path.is_file() and path.name != "trace"] == []
    place.check()


def test_the_library_in_a_process_of_its_own(place: Place, portrait: Path) -> None:
    code = (
        "import threeages, onnxruntime, sys\n"
        "predictor = threeages.load_predictor()\n"
        "print(*[record.status for record in predictor.predict([sys.argv[1]])])"
    )
    assert place.run(sys.executable, "-c", code, portrait) == "ok\n"
    place.check()


@pytest.mark.parametrize(
    "code",
    [
        "import pathlib; pathlib.Path.home().joinpath('deviceid').touch()",
        "import pathlib; pathlib.Path('../elsewhere').mkdir()",
        "open('/etc/resolv.conf')",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 9))",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('127.0.0.1', 53))",
        "import socket as s; s.socket(s.AF_INET6, s.SOCK_DGRAM).connect_ex(('2001:db8::1', 9))",
    ],
)
def test_a_breach_is_seen(place: Place, code: str) -> None:
    if not _has_tracer():
        pytest.skip("strace is missing or may not trace")
    place.run(sys.executable, "-c", code)
    with pytest.raises(AssertionError):
        place.check()


def test_loopback_and_the_working_folder_are_no_breach(place: Place) -> None:
    place.run(
        sys.executable,
        "-c",
        "import socket; s = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(s.getsockname()); open('file', 'w')",
    )
    place.check()


def test_the_docs_name_every_folder() -> None:
    section = DOCS.read_text(encoding="utf-8").split("## What is written where\n")[1].split("\n## ")[0]
    for folder in (*(f"~/{name}" for name in HOME_FOLDERS), "TMPDIR"):
        assert folder in section
