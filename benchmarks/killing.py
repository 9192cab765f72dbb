"""Kills a command with SIGKILL at seeded moments, starts it again until it ends, and compares the results."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from kill_cases import UNREADABLE, Case, read_result

HOOK = Path(__file__).with_name("kill_hook")
GRACE = 5.0  # seconds in which children must end with their parent
LONGEST_DELAY = 0.02  # seconds after a file operation: the file is being written then
CHAIN = (1, 1, 2, 3)  # kills of one run: some restarts are killed as well
MISSES = 3  # runs that may end before their kill, for each that is killed


@dataclass(frozen=True)
class Kill:
    """When a process is killed: `share` of the undisturbed time, or the file operation with the number `at`.

    `delay` is in seconds after that operation; with `whole_group` the children are killed as well.
    """

    share: float | None
    at: int = 0
    delay: float = 0.0
    whole_group: bool = False

    def environment(self) -> dict[str, str]:
        """What the hook in the process is told."""
        if self.share is not None:
            return {}
        return {
            "KILL_AT": str(self.at),
            "KILL_DELAY": str(self.delay),
            "KILL_GROUP": str(int(self.whole_group)),
        }


@dataclass(frozen=True)
class Undisturbed:
    """What a command gives where nothing kills it, how long it takes and how many file operations."""

    folder: Path
    result: dict[str, str]
    seconds: float
    operations: int


@dataclass
class Outcome:
    """What was counted over the killed runs of a command; each problem names its run."""

    runs: int = 0
    kills: int = 0
    restarts: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)  # kind, text

    def count(self, kind: str) -> int:
        """How many problems there are of a kind."""
        return sum(found == kind for found, _ in self.problems)


def kill_case(case: Case, folder: Path, *, runs: int, seed: int, kills: int = 0) -> Outcome:
    """Kill `runs` runs of a case, and more until there are `kills` kills; compare with an undisturbed one.

    The moments are drawn with `seed`. Every other kill comes at a moment, uniform over the undisturbed time,
    and every other one at a file operation; the whole process group and the parent alone take turns.
    """
    rng = random.Random(f"{seed}:{case.name}")
    outcome = Outcome()
    expected = run_undisturbed(case, folder / f"{case.name}-undisturbed", outcome)
    for number in range((1 + MISSES) * max(runs, kills)):
        if outcome.runs >= runs and outcome.kills >= kills:
            break
        chain = max(CHAIN) if kills else rng.choice(CHAIN)
        plan = [draw_kill(rng, expected.operations, number + i) for i in range(chain)]
        _kill_run(case, folder / f"{case.name}-{number}", plan, expected, outcome)
    return outcome


def kill_everywhere(case: Case, folder: Path) -> Outcome:
    """Kill one run before each file operation of an undisturbed one; else as `kill_case`."""
    outcome = Outcome()
    expected = run_undisturbed(case, folder / f"{case.name}-undisturbed", outcome)
    for at in range(1, expected.operations + 1):
        kill = Kill(None, at, whole_group=bool(at % 2))
        _kill_run(case, folder / f"{case.name}-{at}", [kill], expected, outcome)
    return outcome


def draw_kill(rng: random.Random, operations: int, turn: int) -> Kill:
    """A kill at a moment or, every other turn, at a file operation, and half of these shortly after it."""
    share, whole_group = rng.random(), bool(turn // 2 % 2)
    at, delay = rng.randint(1, operations), rng.choice((0.0, rng.uniform(0, LONGEST_DELAY)))
    return Kill(None, at, delay, whole_group) if turn % 2 else Kill(share, whole_group=whole_group)


def run_undisturbed(case: Case, folder: Path, outcome: Outcome) -> Undisturbed:
    """Run a case to its end; raises RuntimeError where it fails or writes what cannot be compared."""
    count = folder.with_suffix(".count")
    start = time.monotonic()
    code = _start(case, folder, {"KILL_COUNT": str(count)}).wait()
    seconds = time.monotonic() - start
    if code:
        raise RuntimeError(f"{case.name} ended with {code}:\n{_log(folder).read_text(encoding='utf-8')}")
    result = read_result(folder)
    if unreadable := [name for name, content in result.items() if content.startswith(UNREADABLE)]:
        raise RuntimeError(f"{case.name} wrote what cannot be compared: {unreadable}")
    outcome.problems += _find_tracebacks(folder)
    return Undisturbed(folder, result, seconds, int(count.read_text(encoding="utf-8")))


def _kill_run(case: Case, folder: Path, plan: list[Kill], expected: Undisturbed, outcome: Outcome) -> None:
    """`run_killed`; a run without a problem is removed."""
    run_killed(case, folder, plan, expected, outcome)
    if not any(text.startswith(f"{folder.name}:") for _, text in outcome.problems):
        shutil.rmtree(folder)
        _log(folder).unlink()


def run_killed(case: Case, folder: Path, plan: list[Kill], expected: Undisturbed, outcome: Outcome) -> None:
    """One run: as many kills as planned, unless it ends before, then a last start that ends by itself."""
    done = 0
    for kill in plan:
        process = _start(case, folder, kill.environment())
        if not _kill(process, kill, expected.seconds):
            break
        done += 1
        outcome.problems += [
            ("survivors", f"{folder.name}: {text} after {kill}") for text in _find_survivors(folder)
        ]
        outcome.problems += _check(case, folder, expected)
    else:
        process = _start(case, folder, {})
        if _wait(process, _limit(expected.seconds)) is None:
            process.kill()
    outcome.runs += bool(done)
    outcome.kills += done
    outcome.restarts += done
    if code := process.wait():
        outcome.problems.append(("failed", f"{folder.name}: exit code {code} after {plan}"))
    outcome.problems += _check(case, folder, expected)
    outcome.problems += _compare(read_result(folder), expected.result, folder) + _find_tracebacks(folder)


def _start(case: Case, folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = (str(HOOK), os.environ.get("PYTHONPATH", ""))
    own = {
        "OMP_NUM_THREADS": "1",
        "KILL_FOLDER": str(folder),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    with (
        _log(folder).open("ab") as log,
        (folder / case.stdout if case.stdout else _log(folder)).open("wb" if case.stdout else "ab") as out,
    ):
        return subprocess.Popen(
            [sys.executable, *case.arguments],
            cwd=folder, env=os.environ | own | environment, stdin=subprocess.DEVNULL, stdout=out, stderr=log,
            start_new_session=True,
        )  # fmt: skip


def _kill(process: subprocess.Popen[bytes], kill: Kill, seconds: float) -> bool:
    """Kill the process, or wait until it kills itself; False where it ended before."""
    if kill.share is None:
        return _wait(process, _limit(seconds)) == -signal.SIGKILL
    if _wait(process, kill.share * seconds) is not None:
        return False
    if kill.whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    return process.wait() == -signal.SIGKILL


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _limit(seconds: float) -> float:
    """Seconds that a start may take where other work slows the machine."""
    return 60 + 10 * seconds


def _find_survivors(folder: Path) -> list[str]:
    """The processes of a killed run that live on for more than 5 s; they are killed then."""
    end = time.monotonic() + GRACE
    while (living := _find_processes(folder)) and time.monotonic() < end:
        time.sleep(0.05)
    found = [" ".join(_describe(process)) for process in living]
    for process in living:
        process.kill()
    return found


def _find_processes(folder: Path) -> list[psutil.Process]:
    """Processes whose environment names the folder, however they were started; zombies are none."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("KILL_FOLDER") == str(
                folder
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _describe(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _check(case: Case, folder: Path, expected: Undisturbed) -> list[tuple[str, str]]:
    return [("damaged", f"{folder.name}: {text}") for text in case.check(folder, expected.folder)]


def _compare(found: dict[str, str], expected: dict[str, str], folder: Path) -> list[tuple[str, str]]:
    """Files that differ or lack, and files that an undisturbed run does not leave."""
    differing = [name for name, content in expected.items() if found.get(name) != content]
    left = found.keys() - expected.keys()
    return [
        *(
            ("differences", f"{folder.name}: {name} {'differs' if name in found else 'lacks'}")
            for name in differing
        ),
        *(("leftovers", f"{folder.name}: {name} is left") for name in sorted(left)),
    ]


def _find_tracebacks(folder: Path) -> list[tuple[str, str]]:
    lines = _log(folder).read_text(encoding="utf-8", errors="replace").splitlines()
    return [
        ("tracebacks", f"{folder.name}: see {_log(folder)}")
        for line in lines
        if line.startswith("Traceback (")
    ]


def _log(folder: Path) -> Path:
    return folder.with_suffix(".log")
