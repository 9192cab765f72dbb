"""What is killed with SIGKILL resumes to the result of an undisturbed run; `make kill` kills more often."""

import json
import os
import random
from pathlib import Path

import kill_cases
import killing
import kills
import pytest
from kill_cases import Case
from killing import Kill, Outcome

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
CASES = (
    "train", "frozen features", "distill", "study", "tune", "tune in 2 processes", "pixel cache", "predict",
)  # fmt: skip
TWO_STEPS = """
import subprocess, sys
from pathlib import Path
if not Path("first").exists():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path("first").write_text("1")
    Path(".second.part").write_text("2")
    Path(".second.part").replace("second")
    child.kill()
    child.wait()
else:
    print("Traceback (most recent call last):", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    return kill_cases.create_cases(tmp_path_factory.mktemp("kills"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_killed_command_gives_the_result_of_an_undisturbed_one(
    name: str, cases: dict[str, Case], tmp_path: Path
) -> None:
    outcome = killing.kill_case(cases[name], tmp_path, runs=1, kills=3, seed=1)
    assert outcome.kills >= 3
    assert outcome.problems == []


def test_every_case_is_tested(cases: dict[str, Case]) -> None:
    assert tuple(cases) == CASES


@pytest.fixture
def two_steps() -> Case:
    """A command that breaks every promise where it is killed between its two files."""
    return Case("two steps", ("-c", TWO_STEPS))


def _kill(case: Case, kill: Kill, folder: Path) -> Outcome:
    outcome = Outcome()
    expected = killing.run_undisturbed(case, folder / "undisturbed", outcome)
    assert expected.operations == 3
    assert not outcome.problems
    killing.run_killed(case, folder / "killed", [kill], expected, outcome)
    return outcome


def test_what_is_lost_left_or_alive_is_found(
    two_steps: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(killing, "GRACE", 0.2)
    outcome = _kill(two_steps, Kill(None, at=3), tmp_path)
    assert (outcome.runs, outcome.kills, outcome.restarts) == (1, 1, 1)
    found = [(kind, text.partition(": ")[2]) for kind, text in outcome.problems]
    assert found[0][0] == "survivors"
    assert found[1:3] == [("differences", "second lacks"), ("leftovers", ".second.part is left")]
    assert [kind for kind, _ in found[3:]] == ["tracebacks"]


def test_every_file_operation_is_a_moment(two_steps: Case, tmp_path: Path) -> None:
    outcome = killing.kill_everywhere(two_steps, tmp_path)
    assert (outcome.runs, outcome.kills) == (3, 3)
    named = {text.partition(":")[0] for kind, text in outcome.problems if kind == "differences"}
    assert named == {"two steps-2", "two steps-3"}
    assert (tmp_path / "two steps-2").exists()
    assert not (tmp_path / "two steps-1").exists()


def test_the_whole_group_is_killed_where_asked_for(two_steps: Case, tmp_path: Path) -> None:
    outcome = _kill(two_steps, Kill(None, at=2, whole_group=True), tmp_path)
    assert outcome.kills == 1
    assert outcome.count("survivors") == 0
    assert outcome.count("differences") == 1


def test_a_kill_before_the_first_file_leaves_no_trace(two_steps: Case, tmp_path: Path) -> None:
    assert _kill(two_steps, Kill(None, at=1, whole_group=True), tmp_path).problems == []


def test_a_run_that_ends_before_its_kill_is_compared_and_not_counted(two_steps: Case, tmp_path: Path) -> None:
    outcome = _kill(two_steps, Kill(None, at=99), tmp_path)
    assert (outcome.runs, outcome.kills, outcome.restarts, outcome.problems) == (0, 0, 0, [])


def test_a_failing_start_is_a_problem(tmp_path: Path) -> None:
    case = Case("fails", ("-c", "import sys\nfrom pathlib import Path\nPath('a').mkdir()"))
    outcome = Outcome()
    expected = killing.run_undisturbed(case, tmp_path / "undisturbed", outcome)
    (tmp_path / "killed" / "a").mkdir(parents=True)
    killing.run_killed(case, tmp_path / "killed", [Kill(None, at=9)], expected, outcome)
    assert outcome.count("failed") == outcome.count("tracebacks") == 1


def test_what_cannot_be_compared_is_no_undisturbed_run(tmp_path: Path) -> None:
    case = Case("foreign", ("-c", "open('model.ckpt', 'w')"))
    with pytest.raises(RuntimeError, match=r"cannot be compared: \['model.ckpt'\]"):
        killing.run_undisturbed(case, tmp_path / "run", Outcome())


def test_kills_are_drawn_with_the_seed() -> None:
    drawn = [[killing.draw_kill(random.Random(seed), 9, turn) for turn in range(40)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    rng = random.Random(0)
    spread = [killing.draw_kill(rng, 9, turn) for turn in range(200)]
    assert {kill.at for kill in spread if kill.share is None} == set(range(1, 10))
    assert {(kill.share is None, kill.whole_group) for kill in spread} == {
        (a, b) for a in (True, False) for b in (True, False)
    }


def test_results_are_compared_without_times(tmp_path: Path) -> None:
    for name, seconds, loss in (("a", "1", "0.5"), ("b", "2", "0.5"), ("c", "1", "0.6")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text(f"epoch,seconds,train_loss\n1,{seconds},{loss}\n")
    first, second, third = (kill_cases.read_result(tmp_path / name) for name in "abc")
    assert first == second != third
    (tmp_path / "a" / "best.ckpt").write_bytes(b"half")
    assert kill_cases.read_result(tmp_path / "a")["best.ckpt"].startswith("unreadable")


def test_what_is_left_out_of_the_comparison_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "reliability.md").read_text(encoding="utf-8")
    names = {*kill_cases.EXCLUDED, *kill_cases.TIMES, *kill_cases.ORIGIN}
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_predictions_are_valid_up_to_their_last_line(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for folder in (killed, whole):
        (folder / "saved").mkdir(parents=True)
        (folder / "saved" / "1.jpg").write_bytes(b"whole")
    (whole / "predictions.csv").write_text("path,age\na,1\nb,2\n")
    (killed / "predictions.csv").write_text("path,age\na,1\nb")
    assert kill_cases.check_predictions(killed, whole) == []
    (killed / "predictions.csv").write_text("path,age\nb,2\n")
    (killed / "saved" / "1.jpg").write_bytes(b"who")
    assert len(kill_cases.check_predictions(killed, whole)) == 2


def test_a_row_of_results_counts_every_kind_of_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = Outcome(runs=20, kills=31, restarts=31, problems=[("leftovers", "train-3: a.part is left")])
    kills.save_row("train", outcome, 0, tmp_path / "kills.csv")
    kills.print_outcome("train", outcome)
    header, row = (tmp_path / "kills.csv").read_text().splitlines()
    assert header.startswith("command,runs,kills,restarts,differences,leftovers,survivors,tracebacks,")
    assert row.startswith("train,20,31,31,0,1,0,0,")
    assert "train-3: a.part is left" in capsys.readouterr().out


def test_the_hook_stays_out_of_children(tmp_path: Path) -> None:
    code = (
        "import json, os, subprocess, sys; subprocess.run([sys.executable, '-c', 'open(\"child\", \"w\")'])"
    )
    case = Case("child", ("-c", f"{code}\njson.dump(dict(os.environ), open('environ.json', 'w'))"))
    expected = killing.run_undisturbed(case, tmp_path / "run", Outcome())
    assert expected.operations == 1
    assert {"child", "environ.json"} == expected.result.keys()
    environ = json.loads((tmp_path / "run" / "environ.json").read_text())
    assert "KILL_COUNT" not in environ
