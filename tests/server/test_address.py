"""What proxies, probes and pages elsewhere send: sub-paths, HEAD, CORS on refusals, base64 as written."""

import base64
import http.client
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from threeages import Client
from threeages.errors import ConfigError
from threeages.inference.records import Record
from threeages.inference.runtime import default_model_path
from threeages.server.address import clean_path
from threeages.server.app import create_app
from threeages.server.reading import decode_base64
from threeages.server.run import create_settings
from threeages.server.settings import Settings

KEY = "k" * 20
ORIGIN = {"Origin": "https://a.example"}
DATA = bytes(range(256)) * 3 + b"\xfb\xff\xfe"  # has both characters that the alphabets differ in
TEXT = base64.b64encode(DATA).decode()


def _idle(**settings: object) -> TestClient:
    """An app whose engine is not started: what is refused before it needs none."""
    return TestClient(create_app(default_model_path(), Settings(**settings)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path", ["/", "/v1/model", "/healthz", "/readyz", "/metrics", "/openapi.json", "/page/app.js", "/nothing"]
)
def test_head_is_get_without_its_body(client: TestClient, path: str) -> None:
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":  # it has changed between the two
        assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.content))


def test_head_goes_no_further_than_get() -> None:
    assert _idle(api_keys=(KEY,)).head("/v1/model").status_code == 401
    app = _idle()
    assert app.head("/v1/predict").headers["allow"] == "POST"
    assert app.put("/v1/model").headers["allow"] == "GET, HEAD"
    assert app.put("/v1/predict").headers["allow"] == "POST"


def test_head_leaves_a_connection_usable(service: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(service).netloc, timeout=60)
    for method in ("HEAD", "GET", "HEAD", "GET"):
        connection.request(method, "/v1/model")
        reply = connection.getresponse()
        assert reply.status == 200
        assert bool(reply.read()) == (method == "GET")
    connection.close()


@pytest.mark.parametrize(
    ("path", "root_path", "expected"),
    [
        ("/", "", "/"), ("", "", "/"), ("//", "", "/"), ("//v1//model/", "", "/v1/model"),
        ("/a", "/a", "/"), ("/a/", "/a", "/"), ("/a/v1/model", "/a", "/v1/model"),
        ("/v1/model", "/a", "/v1/model"),
        ("/ab/v1", "/a", "/ab/v1"), ("/a/b/page/x.js", "/a/b", "/page/x.js"), ("/a//v1", "/a", "/v1"),
    ],
)  # fmt: skip
def test_paths_are_cleaned(path: str, root_path: str, expected: str) -> None:
    assert clean_path(path, root_path) == expected


def test_no_spelling_of_a_path_goes_past_the_key() -> None:
    app = _idle(api_keys=(KEY,), root_path="/a")
    for path in ("/v1/model", "//v1/model", "/a/v1/model", "/a//v1/model/", "/metrics/", "//metrics"):
        assert app.get(f"http://testserver{path}").status_code == 401
    assert app.get("/v1/model/", headers={"X-API-Key": KEY}).status_code == 200


def test_nothing_is_redirected(client: TestClient) -> None:
    for path in ("/v1/model/", "/page", "/page/", "/healthz/", "/v1/predict/"):
        assert client.get(path, follow_redirects=False).status_code in {200, 404, 405}


def test_a_known_sub_path_is_in_the_page_and_the_schema() -> None:
    app = _idle(root_path="/faces")
    for path in ("/", "/faces", "/faces/"):
        assert 'src="/faces/page/app.js"' in app.get(path).text
    assert app.get("/faces/page/app.js").status_code == 200
    assert app.get("/faces/openapi.json").json()["servers"] == [{"url": "/faces"}]
    assert "servers" not in _idle().get("/openapi.json").json()
    for bad in ("/a b", '/"><script>', "a", "/a/"):
        with pytest.raises(ConfigError, match="root_path"):
            Settings(root_path=bad)


def test_the_page_asks_for_relative_addresses_only(client: TestClient) -> None:
    for path in ("/", "/page/app.js", "/page/style.css"):
        text = client.get(path).text
        assert not [quoted for quoted in ('"/', "'/", "`/", "url(/") if quoted in text.replace('"/>', "")]


def test_every_refusal_can_be_read_elsewhere() -> None:
    raw, json_kind = {"Content-Type": "image/png"}, {"Content-Type": "application/json"}
    app = _idle(
        cors_origins=("https://a.example",), max_body=1000, max_images=1, allowed_hosts=("testserver",)
    )
    refused = [
        (404, app.get("/nothing", headers=ORIGIN)),
        (405, app.put("/v1/predict", headers=ORIGIN)),
        (405, app.options("/v1/predict", headers=ORIGIN)),
        (405, app.post("/page/app.js", headers=ORIGIN)),
        (413, app.post("/v1/predict", content=b"x" * 1500, headers=ORIGIN | raw)),
        (413, app.post("/v1/predict", content=b"x" * 9000, headers=ORIGIN | raw)),
        (413, app.post("/v1/predict", files={"a": b"x" * 9000}, headers=ORIGIN)),
        (400, app.post("/v1/predict", files=[("a", b"x")] * 2, headers=ORIGIN)),
        (415, app.post("/v1/predict", content=b"x", headers=ORIGIN)),
        (422, app.post("/v1/predict", content=b"{", headers=ORIGIN | json_kind)),
        (422, app.post("/v1/predict?detect=maybe", content=b"x", headers=ORIGIN | raw)),
        (421, app.get("/", headers=ORIGIN | {"Host": "evil.example"})),
        (503, app.get("/readyz", headers=ORIGIN)),
        (503, _idle(cors_origins=("https://a.example",), max_waiting=1).post(
            "/v1/predict", content=b"xx", headers=ORIGIN | raw)),
        (503, _idle(cors_origins=("https://a.example",), queue_size=1).post(
            "/v1/predict", files=[("a", b"x")] * 2, headers=ORIGIN)),
        (500, _idle(cors_origins=("https://a.example",)).post(  # it was not started
            "/v1/predict", content=b"x", headers=ORIGIN | raw)),
    ]  # fmt: skip
    assert [reply.status_code for _, reply in refused] == [status for status, _ in refused]
    for status, reply in refused:
        assert reply.headers["access-control-allow-origin"] == "https://a.example", status
        assert reply.headers["access-control-expose-headers"] == "Retry-After"
        assert ("retry-after" in reply.headers) == (status == 503)
        assert reply.headers["content-type"] == "application/problem+json"


def test_a_page_elsewhere_may_send_head_with_a_key() -> None:
    asked = {"Access-Control-Request-Method": "HEAD", "Access-Control-Request-Headers": "authorization"}
    app = _idle(cors_origins=("https://a.example",))
    assert app.options("/v1/model", headers=ORIGIN | asked).status_code == 200


def test_requests_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(default_model_path(), Settings(max_requests=1))
    inner: list[httpx.Response] = []

    async def predict(*_: object, **__: object) -> list[Record]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
            inner.extend([await client.get("/v1/model"), await client.get("/healthz")])
        return []

    monkeypatch.setattr("threeages.server.engine.Engine.predict", predict)
    for _ in range(2):  # a request that has ended counts no longer
        reply = TestClient(app).post("/v1/predict", content=b"x", headers={"Content-Type": "image/png"})
        assert reply.status_code == 200
    assert [r.status_code for r in inner] == [503, 200] * 2
    assert inner[0].headers["retry-after"] == "1"


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip("="),
        base64.urlsafe_b64encode(DATA).decode(),
        base64.urlsafe_b64encode(DATA).decode().rstrip("="),
        base64.encodebytes(DATA).decode(),
        base64.encodebytes(DATA).decode().replace("\n", "\r\n"),
        f"  {TEXT[:9]} {TEXT[9:]}\t\n",
        f"data:image/jpeg;base64,{TEXT}",
        f"DATA:image/JPEG;BASE64,{TEXT}",
        f"Data:;Base64,{TEXT}",
        f"data:;base64,\n{base64.encodebytes(DATA).decode()}",
        f'data:image/svg+xml;charset=utf-8;name="a%20b.jpg";base64,{TEXT.rstrip("=")}',
        f" data: image/png; base64, {TEXT}",
        f"data:image/png;base64,{quote(TEXT)}",
    ],
)
def test_base64_is_read_as_it_is_written(text: str) -> None:
    assert decode_base64(text) == DATA


@pytest.mark.parametrize(
    "text",
    ["?", "A", "AAAAA", "AA=A", "é", "data:text/plain,hello", "data:;base64,?", "AAAA\0", "AA.A", "%41A="],
)
def test_what_is_no_base64_is_refused(text: str) -> None:
    app = _idle()
    reply = app.post("/v1/predict", json={"images": [{"data": text}]})
    assert (reply.status_code, reply.json()["detail"]) == (422, "images.0.data is not base64.")


def test_json_with_a_byte_order_mark_is_read(client: TestClient, portrait: Path) -> None:
    body = {"images": [{"data": base64.encodebytes(portrait.read_bytes()).decode()}]}
    content = b"\xef\xbb\xbf" + json.dumps(body).encode()
    reply = client.post("/v1/predict", content=content, headers={"Content-Type": "application/json"})
    assert [r["status"] for r in reply.json()["records"]] == ["ok"]


def _settings(**given: object) -> Settings:
    values = dict.fromkeys(
        ("workers", "key_file", "rate_limit", "max_error", "coverage", "allowed_hosts", "cors_origins")
    )
    limits = {"host": "127.0.0.1", "max_body_mb": 32, "max_images": 32, "max_megapixels": 50}
    return create_settings(**(values | limits | given))  # type: ignore[arg-type]


def test_settings_for_proxies() -> None:
    assert (_settings().keep_alive, _settings(keep_alive=5.5).keep_alive) == (75, 5.5)
    assert [_settings(root_path=p).root_path for p in ("", "/", "a", "/a/", "/a/b")] == [
        "",
        "",
        "/a",
        "/a",
        "/a/b",
    ]
    assert _settings(cors_origins=["https://a.example/"]).cors_origins == ("https://a.example",)
    for host in ("127.0.0.1", "0.0.0.0"):  # the health check of the container asks 127.0.0.1
        allowed = _settings(host=host, allowed_hosts=["Faces.example"]).allowed_hosts
        assert {"faces.example", "127.0.0.1", "localhost"} <= set(allowed)


@pytest.mark.slow
def test_an_idle_connection_stays_open_for_its_time(start_service: Callable[..., Any]) -> None:
    with start_service("--keep-alive", "7") as (address, _):
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        assert connection.sock is not None
        connection.sock.settimeout(5.8)  # above the 5 s of uvicorn
        with pytest.raises(TimeoutError):
            connection.sock.recv(1)
        connection.sock.settimeout(10)
        assert connection.sock.recv(1) == b""  # closed by the service
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_the_client_reaches_this_machine_past_a_proxy(
    service: str, portrait: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Client(service, retries=0) as client:
        assert [r.status for r in client.predict([portrait])] == ["ok"]
