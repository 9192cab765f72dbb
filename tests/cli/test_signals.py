"""Signals that stop a command: exit codes, the last line of each, and nothing that is left of it."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from threeages.cli import signals
from threeages.cli.main import list_commands
from threeages.demo import find_portraits

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")

RESUMES = {
    "explain",
    "train",
    "distill",
    "study",
    "cross-source",
    "tune",
    "demo",
    "data split",
    "data leakage",
}
OVER = {"predict", "data audit", "models fetch", "bundle"}
COMMAND = [sys.executable, "-m", "threeages"]


@pytest.mark.parametrize("name", list_commands())
def test_the_last_line_of_each_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = name.removeprefix("threeages ")
    monkeypatch.setattr(sys, "argv", ["threeages", *words.split(), "a.csv", "--out", "x"])
    line = signals.find_ending()
    assert line.endswith("The same command resumes.") == (words in RESUMES)
    assert line.endswith("he same command starts over.") == (words in OVER)
    assert bool(line) == (words in RESUMES | OVER | {"video"})


SCRIPT = """
import hashlib, signal, sys, time
from threeages.cli.signals import *

def work():
    print("ready", flush=True)
    {work}

sys.argv = ["threeages", "train"]
with stop_on_signals():
    try:
        work()
    finally:
        {end}
"""
LONG = 'hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)'  # one call that runs for minutes
SLEEP = "time.sleep(600)"


def _start(command: list[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def _run_script(work: str, end: str = "pass") -> subprocess.Popen[str]:
    process = _start([sys.executable, "-c", SCRIPT.format(work=work, end=end)])
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_each_signal_ends_with_its_exit_code_and_one_line(number: int) -> None:
    with _run_script(SLEEP) as process:
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert (out, errors) == ("", "Interrupted. The same command resumes.\n")


def test_the_block_cleans_up_once_however_often_it_is_asked() -> None:
    """`timeout` sends its signal twice."""
    with _run_script(SLEEP, 'time.sleep(0.5); print("clean", flush=True)') as process:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert (out, errors) == ("clean\n", "Interrupted. The same command resumes.\n")


def test_a_second_signal_ends_a_long_clean_up() -> None:
    with _run_script(SLEEP, 'print("cleaning", flush=True); time.sleep(600)') as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout
        assert process.stdout.readline() == "cleaning\n"
        time.sleep(2 * signals.DOUBLE)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert time.monotonic() - start < signals.GRACE
        assert process.stderr
        assert process.stderr.read() == "Interrupted. The same command resumes.\n"


TWO_THREADS = """
import os, threading, time
from threeages.cli import signals

def ending():
    os.write(1, b"asked\\n")
    time.sleep(0.5)
    return "Both are here."

stop = signals._Stop()
stop.ending = ending
threading.Thread(target=signals._leave, args=(15, stop)).start()
signals._leave(15, stop)
"""


def test_the_two_threads_that_end_the_process_say_so_once() -> None:
    """The watcher's time may run out at the moment at which the main thread is done."""
    done = subprocess.run([sys.executable, "-c", TWO_THREADS], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (143, "asked\n")
    assert done.stderr == "Interrupted. Both are here.\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "end"),
    [
        (LONG, "pass"),  # the interpreter runs no handler inside it
        (SLEEP, SLEEP),
        ("try: " + SLEEP + "\n    except BaseException: " + SLEEP, "pass"),  # a library that swallows it
    ],
)
def test_what_does_not_end_by_itself_is_ended(work: str, end: str) -> None:
    with _run_script(work, end) as process:
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        assert time.monotonic() - start < 10
        assert process.stderr
        assert process.stderr.read() == "Interrupted. The same command resumes.\n"


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As with `nohup`."""
    code = SCRIPT.format(work="signal.raise_signal(signal.SIGHUP)", end='print("done")')
    ignoring = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{code}"
    done = subprocess.run([sys.executable, "-c", ignoring], capture_output=True, text=True, check=True)
    assert done.stdout == "ready\ndone\n"


def test_the_handlers_are_those_of_before_after_the_block() -> None:
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    with signals.stop_on_signals():
        assert [signal.getsignal(number) for number in signals.SIGNALS] != before
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of images that take some seconds to decode."""
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "000.jpg"), noise)
    names = [f"{number:03}.jpg" for number in range(600)]
    for name in names[1:]:
        (folder / name).hardlink_to(folder / names[0])
    rows = [f"{name},YOUNG,{number}" for number, name in enumerate(names)]
    (folder / "photos.csv").write_text("\n".join(["path,age_group,identity", *rows]) + "\n")
    return folder


def _end_within_5_s(process: subprocess.Popen[str], number: int, children: int) -> tuple[str, str]:
    """Stop a command that has started its processes; what it printed, once none of them is left."""
    parent = psutil.Process(process.pid)
    _wait(lambda: process.poll() is not None or len(parent.children(recursive=True)) >= children)
    if number == signal.SIGKILL:  # what is killed while it starts a process leaves that with a traceback
        time.sleep(0.3)
    tree = parent.children(recursive=True)
    process.send_signal(number)
    printed = process.communicate(timeout=60)
    assert not psutil.wait_procs(tree, timeout=5)[1]
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    return printed


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "number"),
    [
        (["data", "split"], signal.SIGTERM),
        (["data", "split"], signal.SIGKILL),
        (["data", "audit"], signal.SIGINT),
    ],
)
def test_no_process_of_a_cache_or_an_audit_is_left(
    photos: Path, tmp_path: Path, args: list[str], number: int
) -> None:
    options = ["--out", str(tmp_path)] if "audit" in args else ["--cache-dir", str(tmp_path)]
    with _start([*COMMAND, *args, str(photos / "photos.csv"), *options]) as process:
        out, errors = _end_within_5_s(process, number, 4)  # resource tracker, fork server, two workers
    assert out == ""
    if number == signal.SIGKILL:
        assert errors == ""
    else:
        how = "starts over" if "audit" in args else "resumes"
        assert errors.splitlines()[-1] == f"Interrupted. The same command {how}."
        assert len(errors.splitlines()) <= 2  # the progress bar, where it was drawn


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_of_a_search_is_left(faces_csv: Path, tmp_path: Path, number: int) -> None:
    out = tmp_path / "search"
    options = ["--processes", "2", "--size", "96", "--cache-dir", str(tmp_path / "cache")]
    with _start([*COMMAND, "tune", str(faces_csv), "--out", str(out), *options]) as process:
        _wait(lambda: process.poll() is not None or any(out.glob("trial-*")))
        printed, errors = _end_within_5_s(process, number, 4)
    assert printed == ""
    assert "Traceback" not in errors
    if number == signal.SIGTERM:
        assert errors.splitlines()[-1] == "Interrupted. The same command resumes."
        assert "Aborted" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["--jsonl", "--csv"])
def test_predict_says_how_many_records_it_has_written(photos: Path, tmp_path: Path, kind: str) -> None:
    command = [*COMMAND, "predict", str(photos), "--no-detect", kind]
    written = tmp_path / "records"
    with (
        written.open("w") as file,
        subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE, text=True) as process,
    ):
        _wait(lambda: process.poll() is not None or written.read_text().count("\n") > 3)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 143
    lines = written.read_text().splitlines()[kind == "--csv" :]
    line = errors.splitlines()[-1]
    assert line == f"Interrupted. {len(lines)} records are written and kept; the same command starts over."
    assert len(lines) < 600
    assert kind == "--csv" or all(json.loads(text)["path"] for text in lines)


@pytest.mark.slow
def test_a_terminal_shows_the_last_line_alone_after_the_bar(photos: Path) -> None:
    mine, theirs = pty.openpty()
    command = [*COMMAND, "predict", str(photos), "--no-detect", "--jsonl"]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    with process:
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.5)  # the bar is drawn
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(60) == 130
    shown = b"".join(_read_terminal(mine)).decode()
    assert "images" in shown  # the bar
    assert shown.rsplit(signals.CLEAR_LINE, 1)[1].startswith("Interrupted. ")
    assert shown.endswith("starts over.\r\n")


def _read_terminal(file: int) -> Iterator[bytes]:
    try:
        while part := os.read(file, 65536):
            yield part
    except OSError:  # Linux: the other end is closed
        return


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_video_keeps_what_was_written(tmp_path: Path, number: int) -> None:
    path, out = tmp_path / "in.avi", tmp_path / "out.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (640, 480))
    picture = np.zeros((480, 640, 3), dtype=np.uint8)
    if portraits := find_portraits():
        picture = np.asarray(cv2.resize(cv2.imread(str(portraits[0])), (640, 480)), dtype=np.uint8)
    for _ in range(1000):
        writer.write(picture)
    writer.release()
    with _start([*COMMAND, "video", str(path), "--out", str(out)]) as process:
        _wait(lambda: process.poll() is not None or any(p.stat().st_size for p in tmp_path.glob(".out*")))
        process.send_signal(number)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == (0 if number == signal.SIGINT else 143)  # ^C is the usual end of a camera
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT) > 0
    assert "Traceback" not in errors
    if number == signal.SIGTERM:
        assert errors.splitlines()[-1] == "Interrupted. What was written until then is kept."


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_process_of_the_service_is_left(number: int) -> None:
    with _start([*COMMAND, "serve", "--port", "0", "--workers", "2"]) as process:
        assert process.stderr
        assert "Listening" in process.stderr.readline()
        tree = psutil.Process(process.pid).children(recursive=True)
        assert len(tree) >= 2
        process.send_signal(number)
        assert process.wait(60) == (-number if number == signal.SIGKILL else 0)
        assert not psutil.wait_procs(tree, timeout=5)[1]
        assert process.stderr.read() == ""
