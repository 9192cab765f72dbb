"""No check ends the doctor, whatever becomes of it."""

import os
import sys
from pathlib import Path

import pytest

from threeages.doctor import checks, running
from threeages.doctor.findings import Finding, hide_home, worst_verdict
from threeages.doctor.running import Listed, run_check

MODULE = """
import os, signal, sys, time
from pathlib import Path
from threeages.doctor.findings import Finding
from threeages.errors import ModelError

def well(): yield Finding("x", "ok", "fine", details={"pid": os.getpid()})
def loud(): print("a library speaks"); yield Finding("x", "ok", "fine")
def killed(): os.kill(os.getpid(), signal.SIGKILL)
def exits(): sys.exit("no licence")
def ends(): os._exit(7)
def raises(): yield Finding("x", "ok", "first"); raise ValueError(f"of {Path.home()}/secret")
def refuses(): raise ModelError("It is damaged.", hint="Copy it again.")
def imports(): import a_library_that_is_missing
def sleeps(): time.sleep(60)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ill.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ill", raising=False)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("function", "verdict", "found"),
    [
        ("well", "ok", "fine"),
        ("loud", "ok", "fine"),
        ("exits", "warning", "SystemExit: no licence"),
        ("raises", "warning", "ValueError: of ~/secret"),
        ("refuses", "fault", "It is damaged."),
        ("imports", "fault", "a_library_that_is_missing"),
        ("absent", "warning", "AttributeError"),
    ],
)
def test_a_check_that_fails_is_a_finding(function: str, verdict: str, found: str, apart: bool) -> None:
    (finding,) = run_check(Listed("x", "ill", function, apart=apart))
    assert finding.verdict == verdict
    assert found in finding.found
    assert finding.advice == ("Copy it again." if function == "refuses" else finding.advice)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(("function", "found"), [("killed", "signal 9"), ("ends", "exit code 7")])
def test_a_process_that_a_library_ends_is_a_fault(function: str, found: str) -> None:
    (finding,) = run_check(Listed("x", "ill", function, apart=True))
    assert (finding.check, finding.verdict) == ("x", "fault")
    assert found in finding.found


def test_a_check_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "TIMEOUT", 2)
    (finding,) = run_check(Listed("x", "ill", "sleeps", apart=True))
    assert (finding.verdict, finding.found) == ("fault", "It gave no answer within 2 seconds.")


def test_apart_is_another_process_and_a_packed_program_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Listed("x", "ill", "well", apart=True)
    assert run_check(listed)[0].details["pid"] != os.getpid()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert run_check(listed)[0].details["pid"] == os.getpid()


def test_an_interpreter_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    (finding,) = run_check(Listed("x", "ill", "well", apart=True))
    assert (finding.verdict, finding.found[:12]) == ("warning", "Not checked:")


def test_every_check_can_fail_and_all_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Listed) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Listed, "load", fail)
    monkeypatch.setattr(sys, "frozen", True, raising=False)  # in this process, where the line above counts
    found = list(checks.diagnose())
    assert [finding.check for finding in found] == [listed.name for listed in checks.CHECKS]
    assert {finding.found for finding in found} == {"Not checked: RuntimeError: broken."}


def test_every_listed_check_is_there() -> None:
    assert all(callable(listed.load()) for listed in checks.CHECKS)
    assert len({listed.name for listed in checks.CHECKS}) == len(checks.CHECKS)


def test_the_worst_verdict_counts() -> None:
    ok, warning, fault = (Finding("x", verdict, "") for verdict in ("ok", "warning", "fault"))
    assert worst_verdict([]) == worst_verdict([ok]) == "ok"
    assert worst_verdict([warning, ok]) == "warning"
    assert worst_verdict([ok, fault, warning]) == "fault"


def test_a_home_is_not_shown(tmp_path: Path) -> None:
    assert hide_home(f"no {tmp_path}/a and {tmp_path}/b", tmp_path) == "no ~/a and ~/b"
    assert hide_home("/a/b", Path("/")) == "/a/b"
