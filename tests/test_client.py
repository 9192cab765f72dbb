import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from threeages import Client
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
