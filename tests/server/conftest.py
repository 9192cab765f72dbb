"""A service in this process with one worker, a real one as its own process, and portraits of free use."""

import http.client
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from threeages.demo import find_portraits
from threeages.faces.yunet import YuNet
from threeages.inference.predictor import Predictor
from threeages.inference.runtime import OnnxModel, default_model_path
from threeages.server.app import create_app
from threeages.server.settings import Settings

COMMAND = [sys.executable, "-m", "threeages"]


@pytest.fixture(scope="session")
def portrait() -> Path:
    portraits = find_portraits()
    if not portraits:
        pytest.skip("no portrait: install matplotlib or scikit-image")
    return portraits[0]


@pytest.fixture(scope="session")
def offline() -> Predictor:
    return Predictor(OnnxModel(default_model_path()), YuNet())


@pytest.fixture(scope="session")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(default_model_path(), Settings(workers=1))) as client:
        yield client


@pytest.fixture(scope="session")
def tight_client() -> Iterator[TestClient]:
    """A service whose every limit is small."""
    settings = Settings(
        workers=1, max_body=200_000, max_images=2, max_fields=1, max_pixels=400_000, queue_size=2
    )
    with TestClient(create_app(default_model_path(), settings)) as client:
        yield client


@contextmanager
def running_service(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address and process of `threeages serve` on a free port; ended with the block."""
    command = [*COMMAND, "serve", "--port", "0", "--workers", "1", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        seen = []
        for line in process.stderr:
            seen.append(line)
            if line.startswith("Listening on "):
                break
        else:
            pytest.fail(f"the service did not start: {seen}")
        yield line.split()[-1], process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)  # reads what is left, so that a full pipe cannot block its end


@pytest.fixture(scope="session")
def start_service() -> Callable[..., object]:
    return running_service


@pytest.fixture(scope="session")
def service() -> Iterator[str]:
    with running_service() as (address, _):
        yield address


class _ReverseProxy(BaseHTTPRequestHandler):
    """Hands on what is under `prefix`, which it cuts off or keeps, and answers 404 to anything else."""

    upstream, prefix, strip, max_body = "", "", True, 2**30

    def do_GET(self) -> None:
        size = int(self.headers.get("content-length", 0))
        body = self.rfile.read(size)
        rest = self.path.removeprefix(self.prefix)
        if not self.path.startswith(self.prefix) or rest[:1] not in {"/", ""}:
            self._answer(404, [], b"not here")
            return
        if size > self.max_body:
            self._answer(413, [("Content-Type", "text/html")], b"<html>too large</html>")
            return
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        connection.request(self.command, (rest or "/") if self.strip else self.path, body, dict(self.headers))
        reply = connection.getresponse()
        self._answer(reply.status, reply.getheaders(), reply.read())
        connection.close()

    do_POST = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None: ...

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running_proxy(address: str, prefix: str, *, strip: bool, max_body: int = 2**30) -> Iterator[str]:
    """Address under `prefix` of a reverse proxy before the service."""
    values = {
        "upstream": urlsplit(address).netloc,
        "prefix": prefix,
        "strip": strip,
        "max_body": max_body,
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Proxy", (_ReverseProxy,), values))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{prefix}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session")
def reverse_proxy() -> Callable[..., object]:
    return running_proxy
