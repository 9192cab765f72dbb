import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from threeages.files.locks import BusyError, hold_folder, hold_lock, is_held

HOLD = """
import sys, time
from pathlib import Path
from threeages.files.locks import hold_lock
with hold_lock(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_and_a_kill_frees_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_held(lock)
        with pytest.raises(BusyError, match=str(tmp_path)), hold_folder(tmp_path):
            pass
        process.kill()
    assert not is_held(lock)
    with hold_folder(tmp_path):
        assert is_held(lock)


def test_who_waits_is_told_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock, entered = tmp_path / ".lock", threading.Event()

    def wait() -> None:
        with hold_lock(lock, "another is at work", wait=True):
            entered.set()

    with hold_lock(lock, ""):
        thread = threading.Thread(target=wait)
        with caplog.at_level(logging.WARNING):
            thread.start()
            assert not entered.wait(0.3)
    thread.join()
    assert entered.is_set()
    assert "another is at work" in caplog.text
