"""A stop signal under load: every request that was accepted is answered, and the exit code is 0."""

import http.client
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from threeages.demo import find_portraits

pytestmark = pytest.mark.slow

CLIENTS = 6


class _Caller(threading.Thread):
    """Sends requests on one connection until an answer ends the connection."""

    def __init__(self, address: str, body: bytes) -> None:
        super().__init__()
        self._address, self._body = address, body
        self.answers: list[tuple[float, int]] = []
        self.error: Exception | None = None

    def run(self) -> None:
        connection = http.client.HTTPConnection(urlsplit(self._address).netloc, timeout=60)
        try:
            while True:
                connection.request("POST", "/v1/predict", self._body, {"Content-Type": "image/jpeg"})
                reply = connection.getresponse()
                reply.read()
                self.answers.append((time.monotonic(), reply.status))
                if reply.will_close:
                    return
        except Exception as error:
            self.error = error
        finally:
            connection.close()


def test_term_under_load_loses_no_answer(start_service: Callable[..., Any]) -> None:
    portraits = find_portraits()
    if not portraits:
        pytest.skip("no portrait is installed")
    with start_service() as (address, process):
        callers = [_Caller(address, portraits[0].read_bytes()) for _ in range(CLIENTS)]
        for caller in callers:
            caller.start()
        deadline = time.monotonic() + 60
        while any(not caller.answers for caller in callers) and time.monotonic() < deadline:
            time.sleep(0.02)
        stopped = time.monotonic()
        process.send_signal(signal.SIGTERM)
        for caller in callers:
            caller.join(60)
        assert process.wait(60) == 0
    assert [caller.error for caller in callers] == [None] * CLIENTS
    assert {status for caller in callers for _, status in caller.answers} == {200}
    assert all(caller.answers[-1][0] > stopped for caller in callers)


def test_a_port_that_is_taken_is_an_error(service: str, tmp_path: Path) -> None:
    port = str(urlsplit(service).port)
    done = subprocess.run(
        [sys.executable, "-m", "threeages", "serve", "--port", port],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert f"port {port}" in done.stderr
    assert "Traceback" not in done.stderr
