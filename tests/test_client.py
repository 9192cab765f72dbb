import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from threeages import Client
from threeages.client import find_proxy, is_this_machine
from threeages.errors import ServiceError
from threeages.faces.images import load_image
from threeages.inference.records import Record

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have slept."""
    slept: list[float] = []
    monkeypatch.setattr("threeages.client.time.sleep", slept.append)
    return slept


def _client(handler: Handler, **options: object) -> Client:
    return Client("http://service", transport=httpx.MockTransport(handler), **options)  # type: ignore[arg-type]


def _names(request: httpx.Request) -> list[str]:
    """File names of a form."""
    parts = request.read().split(b'filename="')[1:]
    return [part.split(b'"')[0].decode() for part in parts]


def _answer(request: httpx.Request) -> httpx.Response:
    """One record an image, two for the image named 1."""
    records = [
        Record(name, "ok", box=(0, 0, i, i)).to_dict()
        for name in _names(request)
        for i in range(1 + (name == "1"))
    ]
    return httpx.Response(200, json={"records": records})


def _problem(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"detail": "No.", "hint": "Wait."}, headers=headers)


def test_it_is_imported_on_first_use() -> None:
    code = "import sys, threeages; assert 'httpx' not in sys.modules; from threeages import Client;"
    code += "print(*[m for m in ('onnxruntime', 'cv2', 'numpy', 'fastapi') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_images_go_in_batches_and_come_back_in_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.jpg" for i in range(5)]
    for path in paths:
        path.write_bytes(b"x")
    sizes = []

    def handler(request: httpx.Request) -> httpx.Response:
        sizes.append(len(_names(request)))
        assert str(tmp_path) not in request.read().decode()
        return _answer(request)

    with _client(handler, batch=3) as client:
        records = list(client.predict([paths[0], tmp_path / "none.jpg", *map(str, paths[1:]), b"y"]))
    assert sizes == [2, 3, 1]
    found = [(Path(r.path).name, r.status) for r in records]
    ok = [(name, "ok") for name in ("1.jpg", "2.jpg", "3.jpg", "3.jpg", "4.jpg", "image-6")]
    assert found == [("0.jpg", "ok"), ("none.jpg", "missing"), *ok]


def test_large_images_go_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threeages.client.BATCH_BYTES", 10)
    sizes = []

    def handler(request: httpx.Request) -> httpx.Response:
        sizes.append(len(_names(request)))
        return _answer(request)

    assert len(list(_client(handler).predict([b"x" * 9, b"x" * 9, b"x", b"x" * 20]))) >= 4
    assert sizes == [1, 2, 1]


def test_requests_to_a_busy_service_are_repeated(waits: list[float]) -> None:
    replies = [_problem(503, **{"Retry-After": "7"}), _problem(429), httpx.Response(502, text="bad gateway")]

    def handler(request: httpx.Request) -> httpx.Response:
        return replies.pop(0) if replies else _answer(request)

    assert [r.status for r in _client(handler).predict([b"x"])] == ["ok"]
    assert waits[0] == 7
    assert 0.5 <= waits[1] <= 1
    assert 1 <= waits[2] <= 2


def test_it_gives_up_and_says_why(waits: list[float]) -> None:
    with pytest.raises(ServiceError, match="No") as caught:
        list(_client(lambda _: _problem(503), retries=2).predict([b"x"]))
    assert (caught.value.status, caught.value.hint, len(waits)) == (503, "Wait.", 2)

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ServiceError, match="cannot be reached"):
        list(_client(refuse, retries=1).predict([b"x"]))


def test_a_lasting_refusal_is_not_repeated(waits: list[float]) -> None:
    with pytest.raises(ServiceError) as caught:
        list(_client(lambda _: _problem(401)).predict([b"x"]))
    assert (caught.value.status, waits) == (401, [])


def test_one_image_too_large_loses_no_other() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return _problem(413) if b"LARGE" in request.read() else _answer(request)

    records = list(_client(handler, batch=4).predict([b"a", b"LARGE", b"c", b"d"]))
    by_path = {r.path: r.status for r in records}
    assert by_path == {"image-0": "ok", "image-1": "too_large", "image-2": "ok", "image-3": "ok"}


def test_key_and_detection_are_sent() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer secret"
        assert request.url.params["detect"] == "false"
        return _answer(request)

    assert list(_client(handler, api_key="secret").predict([b"x"], detect=False))


def test_records_of_a_newer_service_are_read() -> None:
    raw = Record("0", "ok", box=(1, 2, 3, 4)).to_dict() | {"mood": "fine"}
    (record,) = _client(lambda _: httpx.Response(200, text=json.dumps({"records": [raw]}))).predict([b"x"])
    assert record.box == (1, 2, 3, 4)


def _images(request: httpx.Request) -> list[bytes]:
    """The contents of a form's files."""
    parts = request.read().split(b"\r\n\r\n")[1:]
    return [part.rpartition(b"\r\n--")[0] for part in parts]


def test_every_kind_of_input_is_sent_as_a_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    sent: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.extend(_images(request))
        return _answer(request)

    data = path.read_bytes()
    turned = Image.fromarray(np.rot90(pixels))
    turned.getexif()[0x0112] = 6
    same = [path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data)]
    made = [pixels, pixels / 255, pixels[None], Image.fromarray(pixels), turned]
    with _client(handler) as client:
        for image in (*same, *made):
            (record,) = client.predict(image)
            assert record.path in {str(path), "image-0"}
        assert len(list(client.predict([*same, *made]))) == len(same) + len(made) + 1
        list(client.predict(pixels[:, :, ::-1], bgr=True))
    assert sent[: len(same)] == [data] * len(same)
    for content in sent:
        np.testing.assert_array_equal(load_image(content), pixels)


def test_what_cannot_be_sent_is_a_record_or_a_type_error() -> None:
    with _client(_answer) as client:
        records = list(client.predict([b"x", np.zeros((0, 0, 3)), np.zeros((9, 9, 7)), b"y"]))
        assert [r.status for r in records] == ["ok", "bad_array", "bad_array", "ok"]
        assert "(9, 9, 7)" in records[2].message
        for wrong in (None, 5, [None], {"a": b""}, io.StringIO("x")):
            with pytest.raises(TypeError, match=r"Allowed|binary mode"):
                client.predict(wrong)  # type: ignore[arg-type]


def _combined(request: httpx.Request) -> httpx.Response:
    """One record an image, and one for all of them."""
    assert request.url.params["together"] == "true"
    records = [Record(name, "ok", box=(0, 0, 9, 9)).to_dict() for name in _names(request)]
    return httpx.Response(200, json={"records": [*records, Record("together", "ok").to_dict()]})


def test_several_images_of_one_person_go_in_one_request(tmp_path: Path) -> None:
    records = list(_client(_combined).predict([b"x", tmp_path / "none.jpg", b"y"], together=True))
    assert [(Path(r.path).name, r.status) for r in records] == [
        ("image-0", "ok"), ("none.jpg", "missing"), ("image-2", "ok"), ("together", "ok"),
    ]  # fmt: skip
    for images in ([], [tmp_path / "none.jpg"]):  # nothing is sent
        *_, combined = _client(lambda _: httpx.Response(500)).predict(images, together=True)
        assert (combined.path, combined.status) == ("together", "no_face")
    with pytest.raises(ServiceError, match="too old"):
        list(_client(_answer).predict([b"x"], together=True))


def test_more_images_of_one_person_than_a_request_takes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threeages.client.BATCH_BYTES", 10)

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"limits": {"max_images": 3, "max_body": 3000}})
        return _combined(request)

    with _client(handler) as client:
        records = list(client.predict([b"x" * 9, b"x" * 5000, b"y" * 99], together=True))
        assert [r.status for r in records] == ["ok", "too_large", "ok", "ok"]
        for images in ([b"x" * 9] * 4, [b"x" * 1400] * 2):
            with pytest.raises(ServiceError, match="too much for one request") as caught:
                list(client.predict(images, together=True))
            assert "--max-body-mb" in caught.value.hint


@contextmanager
def _proxy(status: int, body: bytes = b"<html>Sign in</html>") -> Iterator[str]:
    """Address of a proxy that answers everything itself."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_CONNECT = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without a proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("scheme", "status"),
    [("http", status) for status in (200, 302, 403, 407, 413, 500, 502, 504)]
    + [("https", status) for status in (302, 403, 407, 502)],
)
def test_the_failure_of_a_proxy_names_it(environment: pytest.MonkeyPatch, status: int, scheme: str) -> None:
    with _proxy(status) as address:
        environment.setenv(f"{scheme.upper()}_PROXY", f"http://user:secret@{address}")
        with Client(f"{scheme}://faces.example", retries=1) as client:
            for call in (client.model, lambda: list(client.predict([b"x", b"y"], together=True))):
                with pytest.raises(ServiceError) as caught:
                    call()
                text = str(caught.value)
                assert f"proxy http://{address}" in text
                assert "NO_PROXY=faces.example" in text
                assert "secret" not in text
                assert str(status) in text or status == 200


@pytest.mark.parametrize(
    "proxy", ["http://127.0.0.1:9", "127.0.0.1:9", "ftp://p.example", "socks://p.example", "http://[bad"]
)
def test_a_proxy_that_does_not_work_is_named(environment: pytest.MonkeyPatch, proxy: str) -> None:
    environment.setenv("ALL_PROXY", proxy)
    with pytest.raises(ServiceError, match=r"(?s)proxy .*NO_PROXY") as caught, Client("http://a.b") as client:
        client.model()
    assert proxy in str(caught.value)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "socks://127.0.0.1:9"])
def test_this_machine_is_reached_past_a_proxy(
    environment: pytest.MonkeyPatch, variable: str, proxy: str
) -> None:
    environment.setenv(variable, proxy)
    with _proxy(200, b'{"limits": {}}') as service, Client(f"http://{service}/sub/", retries=0) as client:
        assert client.model() == {"limits": {}}


def test_hosts_of_this_machine() -> None:
    here = ["localhost", "LocalHost.", "a.localhost", "127.0.0.1", "127.8.9.1", "127.1", "::1", "0.0.0.0",
            "::", "::ffff:127.0.0.1"]  # fmt: skip
    assert [host for host in here if not is_this_machine(host)] == []
    there = ["10.0.0.1", "localhost.example", "127.0.0.1.example", "8.8.8.8", "fe80::1", "bücher.example"]
    assert [host for host in there if is_this_machine(host)] == []


def test_hosts_that_need_no_proxy(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", "https://proxy.example:3128")
    environment.setenv("NO_PROXY", ".lan, faces.example:8443")
    found = {url: find_proxy(httpx.URL(url)) for url in (
        "https://a.example", "http://a.example", "https://b.lan", "https://faces.example:8443",
    )}  # fmt: skip
    assert [bool(proxy) for proxy in found.values()] == [True, False, False, False]


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://a", "", "http://", "http://a:port", "/v1"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ServiceError, match="address"):
        Client(url)


def test_an_answer_of_something_else_is_an_error() -> None:
    replies = [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"a": 1}),
        httpx.Response(301, headers={"Location": "https://a.example/"}),
        httpx.Response(404, json={"detail": 1}),
    ]
    for reply in replies:
        with pytest.raises(ServiceError, match="http://service") as caught:
            list(_client(lambda _, reply=reply: reply, retries=0).predict([b"x"]))  # type: ignore[misc]
        if reply.status_code == 301:
            assert "https://a.example/" in caught.value.message

    def garbled(_: httpx.Request) -> httpx.Response:
        raise httpx.DecodingError("garbled")

    with pytest.raises(ServiceError, match="garbled"):
        _client(garbled, retries=0).model()


@pytest.mark.parametrize(
    ("first", "repeated"),
    [
        (httpx.ConnectError("refused"), True),
        (httpx.ReadTimeout("no answer"), False),  # it may have been counted
        (_problem(503), True),
        (_problem(429), True),
        (_problem(504), False),
    ],
    ids=str,
)
def test_labels_are_sent_again_only_where_they_were_not_counted(
    first: httpx.Response | Exception, repeated: bool
) -> None:
    sent: list[int] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(len(json.loads(request.read())["answers"]))
        if len(sent) == 2:
            if isinstance(first, Exception):
                raise first
            return first
        return httpx.Response(200, json={"n": sum(sent), "e_value": 1.0})

    labels = [("OLD", "YOUNG")] * 1500
    with _client(handle) as client:
        if repeated:
            assert client.send_labels(labels)["e_value"] == 1.0
            assert sent == [1000, 500, 500]
        else:
            with pytest.raises(ServiceError) as refused:
                client.send_labels(labels)
            assert "1,000 labels before this request are counted." in refused.value.hint
            assert sent == [1000, 500]
