import asyncio
import io
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.requests import Request
from starlette.types import Message

from threeages.errors import ConfigError
from threeages.inference.runtime import default_model_path
from threeages.server.app import create_app
from threeages.server.guard import MAX_CLIENTS, RateLimit, is_known_key
from threeages.server.problems import BusyError, RequestError
from threeages.server.reading import Reader
from threeages.server.run import create_settings
from threeages.server.settings import Settings

KEY = "k" * 20
RAW = {"Content-Type": "image/jpeg"}


def _idle(**settings: object) -> TestClient:
    """An app whose engine is not started: what is refused before it needs none."""
    return TestClient(create_app(default_model_path(), Settings(**settings)))  # type: ignore[arg-type]


def test_a_body_that_is_too_large_is_refused(tight_client: TestClient) -> None:
    def chunks(size: int) -> Iterator[bytes]:
        for _ in range(size // 10_000):
            yield b"x" * 10_000

    for size in (210_000, 900_000):
        announced = tight_client.post("/v1/predict", content=b"x" * size, headers=RAW)
        chunked = tight_client.post("/v1/predict", content=chunks(size), headers=RAW)
        form = tight_client.post("/v1/predict", files={"images": ("a.jpg", b"x" * size)})
        for reply in (announced, chunked, form):
            assert (reply.status_code, reply.headers["connection"]) == (413, "close")
            assert "200,000" in reply.json()["hint"]


def test_counts_are_limited(tight_client: TestClient) -> None:
    three = [("images", (f"{i}.jpg", b"x")) for i in range(3)]
    assert tight_client.post("/v1/predict", files=three).status_code == 400
    as_json = {"images": [{"data": ""}] * 3}
    assert tight_client.post("/v1/predict", json=as_json).status_code == 422
    fields = {"a": "1", "b": "2"}
    assert tight_client.post("/v1/predict", files=three[:1], data=fields).status_code == 400
    assert tight_client.post("/v1/predict", files=three[:1], data={"a": "x" * 9999}).status_code == 400
    assert tight_client.post("/v1/predict", files=three[:1], data={"a": "1"}).status_code == 200


def test_pixels_are_counted_before_decoding(tight_client: TestClient) -> None:
    file = io.BytesIO()
    Image.new("L", (1000, 500)).save(file, "PNG")
    (record,) = tight_client.post("/v1/predict", content=file.getvalue(), headers=RAW).json()["records"]
    assert record["status"] == "too_large"
    assert "1000x500" in record["message"]


def test_names_come_back_harmless(tight_client: TestClient) -> None:
    names = ["../../etc/passwd", "C:\\x\\a\u202e\x07.jpg"]
    images = [{"name": name, "data": ""} for name in names]
    records = tight_client.post("/v1/predict", json={"images": images}).json()["records"]
    assert [r["path"] for r in records] == ["passwd", "a.jpg"]


def test_no_photo_touches_the_disk(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("written to disk")

    monkeypatch.setattr(SpooledTemporaryFile, "rollover", refuse)
    reply = client.post("/v1/predict", files={"images": ("a.jpg", b"x" * 5_000_000)})
    assert reply.json()["records"][0]["status"] == "not_an_image"


def test_a_full_queue_says_when_to_come_back(
    tight_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_settings = Settings(workers=1, queue_size=1)
    monkeypatch.setattr("threeages.server.engine.Engine.start", _nothing)
    monkeypatch.setattr("threeages.server.engine.Engine.stop", _nothing)
    app = TestClient(create_app(default_model_path(), engine_settings))
    reply = app.post("/v1/predict", files=[("images", ("a", b"x"))] * 2)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")


async def _nothing(_: object) -> None: ...


def _request(*chunks: bytes, wait: float = 0, length: str | None = None) -> Request:
    rest = list(chunks)

    async def receive() -> Message:
        await asyncio.sleep(wait)
        return {"type": "http.request", "body": rest.pop(0), "more_body": bool(rest)}

    headers = [(b"content-type", b"image/png")]
    if length:
        headers.append((b"content-length", length.encode()))
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def test_a_slow_body_is_refused() -> None:
    async def read() -> None:
        async with Reader(Settings(upload_timeout=0.05)).images(_request(b"a", b"b", wait=0.2)):
            pass

    with pytest.raises(RequestError) as caught:
        asyncio.run(read())
    assert caught.value.status == 408


def test_bytes_that_wait_are_bounded() -> None:
    async def read() -> None:
        reader = Reader(Settings(max_body=100, max_waiting=150))
        async with reader.images(_request(b"x" * 80, length="80")) as images:
            assert images[0].data == b"x" * 80
            with pytest.raises(BusyError):
                async with reader.images(_request(b"x" * 80, length="80")):
                    pass
        async with reader.images(_request(b"x" * 80)) as images:  # the first request has ended
            assert len(images) == 1

    asyncio.run(read())


def test_an_answer_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr("threeages.server.engine.Engine._predict_one", never)
    start = time.monotonic()
    reply = _idle(request_timeout=0.05).post("/v1/predict", content=b"x", headers=RAW)
    assert reply.status_code == 504
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}])
def test_api_keys_open(headers: dict[str, str]) -> None:
    app = _idle(api_keys=("other-key-of-length", KEY))
    assert app.get("/v1/model", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}, {"X-API-Key": ""}]
)
def test_without_the_key_nothing_is_answered(headers: dict[str, str]) -> None:
    app = _idle(api_keys=(KEY,))
    for path in ("/v1/model", "/metrics"):
        reply = app.get(path, headers=headers)
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert app.post("/v1/predict", content=b"x", headers=RAW).status_code == 401
    assert app.get("/healthz").status_code == 200
    assert not is_known_key("ключ", (KEY,))


def test_rates_are_limited_by_client() -> None:
    now = 0.0
    limit = RateLimit(60, clock=lambda: now)
    assert [limit.seconds_to_wait("a") for _ in range(10)] == [0] * 10
    assert limit.seconds_to_wait("a") == pytest.approx(1)
    assert limit.seconds_to_wait("b") == 0
    now = 1.0
    assert limit.seconds_to_wait("a") == 0
    assert limit.seconds_to_wait("a") > 0
    for i in range(MAX_CLIENTS + 5):
        limit.seconds_to_wait(str(i))
    assert len(limit._due) == MAX_CLIENTS


def test_too_many_requests_are_told_to_wait() -> None:
    app = _idle(rate_limit=6)
    replies = [app.get("/v1/model") for _ in range(3)]
    assert [r.status_code for r in replies] == [200, 429, 429]
    assert int(replies[1].headers["retry-after"]) <= 11
    assert app.get("/healthz").status_code == 200


def test_only_named_hosts_are_answered() -> None:
    app = _idle(allowed_hosts=("localhost", "[::1]"))
    for host, status in [("localhost:8000", 200), ("[::1]:80", 200), ("evil.example", 421), ("", 421)]:
        assert app.get("/healthz", headers={"Host": host}).status_code == status


def test_cors_is_off_unless_named() -> None:
    headers = {"Origin": "https://a.example"}
    assert "access-control-allow-origin" not in _idle().get("/healthz", headers=headers).headers
    app = _idle(cors_origins=("https://a.example",), api_keys=(KEY,))
    assert app.get("/healthz", headers=headers).headers["access-control-allow-origin"] == "https://a.example"
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    assert app.options("/v1/predict", headers=headers | preflight).status_code == 200
    other = app.get("/healthz", headers={"Origin": "https://b.example"})
    assert "access-control-allow-origin" not in other.headers


def test_a_page_elsewhere_can_read_refusals() -> None:
    headers = {"Origin": "https://a.example"}
    app = _idle(cors_origins=("https://a.example",), api_keys=(KEY,), rate_limit=6)
    replies = [app.get("/v1/model", headers=headers) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [401, 429]
    for reply in replies:
        assert reply.headers["access-control-allow-origin"] == "https://a.example"
        assert reply.headers["access-control-expose-headers"] == "Retry-After"
    assert replies[1].headers["retry-after"]
    other = app.get("/v1/model", headers={"Origin": "https://b.example"})
    assert other.status_code == 429
    assert "access-control-allow-origin" not in other.headers


def _settings(tmp_path: Path, **given: object) -> Settings:
    values = {
        "host": "127.0.0.1", "workers": None, "key_file": None, "rate_limit": None, "max_body_mb": 32,
        "max_images": 32, "max_error": None, "coverage": None, "max_megapixels": 50, "allowed_hosts": None,
        "cors_origins": None,
    }  # fmt: skip
    return create_settings(**(values | given))  # type: ignore[arg-type]


def test_settings_are_safe_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "localhost" in _settings(tmp_path).allowed_hosts
    assert _settings(tmp_path, host="0.0.0.0").allowed_hosts == ("*",)
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{KEY}\n\n")
    monkeypatch.setenv("THREEAGES_API_KEYS", f" {KEY}2 ,")
    assert _settings(tmp_path, key_file=keys).api_keys == (KEY, f"{KEY}2")


def test_errors_of_settings_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"workers was 0.*max_images was -1.*fewer than 16"):
        Settings(workers=0, max_images=-1, api_keys=("short",))
    with pytest.raises(ConfigError, match="CORS"):
        Settings(api_keys=(KEY,), cors_origins=("*",))
    (tmp_path / "empty").touch()
    for bad in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(ConfigError):
            _settings(tmp_path, key_file=bad)
