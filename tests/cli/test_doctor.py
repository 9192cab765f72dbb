"""`threeages doctor`: its table, its json and its exit code; `threeages bundle` as it is typed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from threeages.doctor import checks
from threeages.doctor.findings import Finding
from threeages.doctor.running import Listed

RunMain = Callable[..., Any]  # of conftest
OK = Finding("memory", "ok", "8 GB", details={"total": 8})
WARNING = Finding("cv2", "warning", "two [builds] are there", "Run: pip uninstall -y one")
FAULT = Finding("files", "fault", "one is damaged", "Install it again.")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the doctor finds, to be filled by the test."""
    findings: list[Finding] = []
    monkeypatch.setattr(checks, "CHECKS", (Listed("all", "", ""),))
    monkeypatch.setattr(checks, "run_check", lambda _: findings)
    return findings


@pytest.mark.parametrize(
    ("findings", "code", "last"),
    [
        ([OK], 0, "0 faults, 0 warnings."),
        ([WARNING, OK], 0, "0 faults, 1 warning."),
        ([FAULT, WARNING, OK], 1, "1 fault, 1 warning."),
    ],
)
def test_a_line_says_what_is_and_what_to_do(
    findings: list[Finding], code: int, last: str, found: list[Finding], run_main: RunMain
) -> None:
    found += findings
    ended = run_main("doctor")
    assert (ended.code, ended.err) == (code, "")
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert lines[-1] == last
    for finding in findings:
        place = lines.index(f"{finding.check} {finding.verdict} {finding.found}")
        assert lines[place + 1] == finding.advice or not finding.advice


@pytest.mark.parametrize(("worst", "code"), [(OK, 0), (WARNING, 0), (FAULT, 1)])
def test_json_holds_the_same(worst: Finding, code: int, found: list[Finding], run_main: RunMain) -> None:
    found += [OK, worst]
    ended = run_main("doctor", "--json")
    content = json.loads(ended.out)
    assert (ended.code, content["verdict"]) == (code, worst.verdict)
    assert [Finding.from_dict(raw) for raw in content["findings"]] == [OK, worst]


def test_this_installation_is_sound_and_no_home_is_shown(run_main: RunMain) -> None:
    ended = run_main("doctor", "--json")
    findings = {finding["check"]: finding for finding in json.loads(ended.out)["findings"]}
    assert [finding for finding in findings.values() if finding["verdict"] == "fault"] == []
    assert ended.code == 0
    assert set(findings) >= {listed.name for listed in checks.CHECKS} - {"builds", "torch"}
    assert f'"{Path.home()}/' not in ended.out


@pytest.mark.slow  # every check, with libraries that are broken
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_broken_libraries_are_named_and_the_rest_is_checked(tmp_path: Path) -> None:
    """Without typer there is no command line, and OpenCV ends every process that imports it."""
    (tmp_path / "typer.py").write_text("raise ImportError('typer is broken')", encoding="utf-8")
    (tmp_path / "cv2.py").write_text("import os; os.kill(os.getpid(), 9)", encoding="utf-8")
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so: cannot open')", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    command = [sys.executable, "-P", "-m", "threeages"]
    run: Any = {"env": os.environ | {"PYTHONPATH": path}, "capture_output": True, "text": True}
    done = subprocess.run([*command, "doctor"], **run, timeout=300, check=False)
    verdicts = {line[:12].strip(): line[14:21].strip() for line in done.stdout.splitlines()}
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert (verdicts["opencv"], verdicts["self-test"], verdicts["torch"]) == ("fault", "fault", "warning")
    assert (verdicts["memory"], verdicts["telemetry"], verdicts["files"]) == ("ok", "ok", "ok")
    assert "ended by signal 9" in done.stdout
    other = subprocess.run([*command, "predict", "photo.jpg"], **run, timeout=300, check=False)
    assert other.returncode == 2
    assert other.stderr == "Error: threeages cannot start: typer is broken.\n  Run: threeages doctor\n"


def test_a_bundle_is_verified_unless_that_is_turned_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_main: RunMain
) -> None:
    calls: list[Any] = []

    def create(folder: Path, **settings: Any) -> None:
        folder.mkdir()
        (folder / "file").write_bytes(b"12345")
        calls.append(settings)

    monkeypatch.setattr("threeages.offline.bundle.create_bundle", create)
    ended = run_main("bundle", tmp_path / "a", "--extra", "serve", "--extra", "heif", "--large")
    assert calls == [{"extras": ["serve", "heif"], "large": True, "verify": True}]
    assert "5 bytes, installed and tested without an index" in ended.out
    ended = run_main("bundle", tmp_path / "b", "--no-verify")
    assert calls[1:] == [{"extras": (), "large": False, "verify": False}]
    assert "not tested" in ended.out


def test_an_unknown_extra_and_a_full_folder_are_refused(tmp_path: Path, run_main: RunMain) -> None:
    ended = run_main("bundle", tmp_path / "new", "--extra", "servr")
    assert ended.code == 2
    assert "There is no extra 'servr'" in ended.err
    assert "serve" in ended.err
    (tmp_path / "file").touch()
    ended = run_main("bundle", tmp_path)
    assert (ended.code, "is there and not empty" in ended.err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
