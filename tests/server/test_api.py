import base64
import io
import json
import logging
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx import Response
from PIL import Image
from pydantic import ValidationError

import threeages
from threeages.inference.occlusion import CELLS, map_occlusion
from threeages.inference.predictor import Predictor
from threeages.inference.records import REJECTION_REASONS, Record
from threeages.inference.runtime import OnnxModel, default_model_path
from threeages.inference.writers import format_records
from threeages.labels import AGE_GROUPS
from threeages.server.app import create_app
from threeages.server.run import create_settings
from threeages.server.schemas import PredictResponse, RecordOut
from threeages.server.settings import Settings


def _form(client: TestClient, path: Path) -> Response:
    return client.post("/v1/predict", files=[("images", (path.name, path.read_bytes()))])


def _json(client: TestClient, path: Path) -> Response:
    data = base64.b64encode(path.read_bytes()).decode()
    return client.post("/v1/predict", json={"images": [{"name": path.name, "data": data}]})


def _data_url(client: TestClient, path: Path) -> Response:
    data = "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
    return client.post("/v1/predict", json={"images": [{"data": data}]})


def _raw(client: TestClient, path: Path) -> Response:
    return client.post("/v1/predict", content=path.read_bytes(), headers={"Content-Type": "image/jpeg"})


def _same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(found) == set(expected)
    for name in found.keys() - {"path"}:
        if isinstance(found[name], float | dict):
            assert found[name] == pytest.approx(expected[name], abs=1e-4)
        else:
            assert found[name] == expected[name]


@pytest.mark.parametrize("send", [_form, _json, _data_url, _raw])
def test_every_way_of_sending_gives_the_offline_answer(
    client: TestClient, offline: Predictor, portrait: Path, send: Callable[[TestClient, Path], Response]
) -> None:
    reply = send(client, portrait)
    assert reply.status_code == 200
    expected = [r.to_dict() for r in offline.predict([portrait])]
    found = reply.json()["records"]
    assert [r["status"] for r in found] == ["ok"]
    for a, b in zip(found, expected, strict=True):
        _same(a, b)


def test_lines_have_the_shape_of_jsonl(client: TestClient, offline: Predictor, portrait: Path) -> None:
    reply = client.post(
        "/v1/predict",
        content=portrait.read_bytes(),
        headers={"Content-Type": "image/jpeg", "Accept": "application/x-ndjson"},
    )
    (line,) = reply.text.splitlines()
    _same(json.loads(line), next(iter(offline.predict([portrait]))).to_dict())


def test_rows_are_the_csv_of_the_library(client: TestClient, offline: Predictor, portrait: Path) -> None:
    reply = client.post(
        "/v1/predict",
        content=portrait.read_bytes(),
        headers={"Content-Type": "image/jpeg", "Accept": "text/csv"},
    )
    records = [replace(record, path="image-0") for record in offline.predict([portrait])]
    assert reply.headers["content-type"].startswith("text/csv")
    assert reply.text == format_records(records, "csv")


def test_the_format_of_records_is_served(client: TestClient) -> None:
    served = client.get("/v1/model").json()["records"]
    assert ",".join(column["name"] for column in served["columns"]) + "\n" == format_records([], "csv")
    assert served["rejection_reasons"] == REJECTION_REASONS


def test_bad_images_lose_no_others_answer(
    client: TestClient, portrait: Path, bad_images: dict[str, Path]
) -> None:
    bad = {status: path for status, path in bad_images.items() if path.exists()}
    paths = [portrait, *bad.values(), portrait]
    files = [("images", (p.name, p.read_bytes())) for p in paths]
    records = client.post("/v1/predict", files=files).json()["records"]
    assert [r["path"] for r in records] == [p.name for p in paths]
    assert [r["status"] for r in records] == ["ok", *bad, "ok"]
    assert all(r["message"] for r in records[1:-1])


def test_without_detection_an_image_is_taken_whole(client: TestClient, faces_dir: Path) -> None:
    path = sorted(faces_dir.glob("*.jpg"))[0]
    reply = client.post(
        "/v1/predict?detect=false", content=path.read_bytes(), headers={"Content-Type": "image/png"}
    )
    (record,) = reply.json()["records"]
    assert record["box"][:2] == [0, 0]
    assert record["probs"]


@pytest.mark.parametrize(
    ("method", "path", "content", "kind", "status"),
    [
        ("GET", "/nothing", b"", "", 404),
        ("PUT", "/v1/predict", b"", "", 405),
        ("POST", "/v1/predict", b"x", "text/plain", 415),
        ("POST", "/v1/predict", b"", "image/jpeg", 422),
        ("POST", "/v1/predict?detect=maybe", b"x", "image/jpeg", 422),
        ("POST", "/v1/predict", b"{", "application/json", 422),
        ("POST", "/v1/predict", b'{"images": []}', "application/json", 422),
        ("POST", "/v1/predict", b'{"images": [{"data": "?"}]}', "application/json", 422),
        ("POST", "/v1/predict", b'{"images": [{"data": "", "size": 3}]}', "application/json", 422),
        ("POST", "/v1/predict", b"x", "multipart/form-data", 400),
        ("POST", "/v1/predict", b"--x", "multipart/form-data; boundary=x", 422),
        ("POST", "/v1/occlusion", b"x", "image/jpeg", 422),
        ("POST", "/v1/occlusion?face=-1", b"x", "image/jpeg", 422),
    ],
)
def test_refusals_are_problems(
    client: TestClient, method: str, path: str, content: bytes, kind: str, status: int
) -> None:
    reply = client.request(method, path, content=content, headers={"Content-Type": kind} if kind else {})
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["status"] == status
    assert reply.json()["detail"]


def test_headers_and_states(client: TestClient) -> None:
    for path in ("/", "/healthz", "/readyz", "/v1/model", "/nothing"):
        headers = client.get(path).headers
        assert "'unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in headers
    assert client.get("/readyz").json() == {"status": "ready"}
    client.app.state.draining = True  # type: ignore[attr-defined]
    try:
        reply = client.get("/readyz")
    finally:
        client.app.state.draining = False  # type: ignore[attr-defined]
    assert (reply.status_code, reply.headers["connection"]) == (503, "close")


def test_model_and_metrics_say_what_is_there(client: TestClient, portrait: Path) -> None:
    model = client.get("/v1/model").json()
    assert model["signature"]["class_names"] == ["YOUNG", "MIDDLE", "OLD"]
    assert model["description"] == f"threeages {threeages.__version__}, model {model['signature']['name']}"
    assert model["features"] == {"age": True}
    assert model["card"].startswith(f"# Model card: threeages {threeages.__version__}")
    _form(client, portrait)
    text = client.get("/metrics").text
    assert 'threeages_requests_total{path="/v1/predict",status="200"}' in text
    assert 'threeages_records_total{status="ok"}' in text
    assert "threeages_images_in_flight 0.0" in text


def test_the_log_holds_size_and_status_only(
    client: TestClient, portrait: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "threeages.server"):
        reply = _form(client, portrait)
    size = int(reply.request.headers["content-length"])
    assert [r.getMessage() for r in caplog.records if r.name == "threeages.server"] == [
        f"status=200 bytes={size}"
    ]


def test_an_error_inside_reveals_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("threeages.server.engine.Engine.predict", fail)
    app = TestClient(create_app(default_model_path()))  # not started: it needs no engine
    reply = app.post("/v1/predict", content=b"x", headers={"Content-Type": "image/png"})
    assert (reply.status_code, reply.headers["content-type"]) == (500, "application/problem+json")
    assert "secret" not in reply.text + caplog.text
    assert "RuntimeError at" in caplog.text
    assert "Traceback" not in reply.text + caplog.text


def test_brackets_are_answered_where_the_service_runs_with_them(client: TestClient, portrait: Path) -> None:
    settings = create_settings(
        host="127.0.0.1", workers=1, key_file=None, max_error=None, coverage=None, rate_limit=None,
        max_body_mb=32, max_images=4, max_megapixels=50, allowed_hosts=["testserver"], cors_origins=None,
        brackets="18,50",
    )  # fmt: skip
    with TestClient(create_app(default_model_path(), settings)) as asked:
        (record,) = _raw(asked, portrait).json()["records"]
        assert list(record["brackets"]) == ["0-17", "18-49", "50+"]
        assert sum(record["brackets"].values()) == pytest.approx(1, abs=1e-5)
        RecordOut.model_validate(record, strict=True)
        names = [column["name"] for column in asked.get("/v1/model").json()["records"]["columns"]]
        assert names[-3:] == ["prob_0_17", "prob_18_49", "prob_50_up"]
        headers = {"Content-Type": "image/jpeg", "Accept": "text/csv"}
        text = asked.post("/v1/predict", content=portrait.read_bytes(), headers=headers).text
        assert text.splitlines()[0].split(",") == names
    assert "brackets" not in _raw(client, portrait).json()["records"][0]


def test_openapi_shows_every_field_of_a_record(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    names = {field.name for field in fields(Record)}
    for name, found in {"RecordOut": names, "Probs": set(AGE_GROUPS)}.items():
        assert set(schemas[name]["properties"]) == found
        assert set(schemas[name]["required"]) == found - {"brackets"}  # of a service with --brackets
        assert schemas[name]["additionalProperties"] is False
    for example in schemas["RecordOut"]["examples"]:
        RecordOut.model_validate(example, strict=True)


def test_answers_keep_to_the_schema(portrait: Path) -> None:
    settings = Settings(workers=1, coverage=0.9, max_error=0.2)
    with TestClient(create_app(default_model_path(), settings)) as client:
        reply = _raw(client, portrait)
    (record,) = PredictResponse.model_validate_json(reply.content, strict=True).records
    assert record.age is not None
    assert record.age_set
    with pytest.raises(ValidationError):
        RecordOut.model_validate(record.model_dump() | {"extra": 1})


def test_openapi_shows_examples(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    content = schema["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", "application/json", "image/jpeg"} <= set(content)
    reply = client.post("/v1/predict", json=content["application/json"]["example"])
    assert reply.json()["records"][0]["status"] == "too_small"
    assert schema["components"]["schemas"]["RecordOut"]["examples"]


def test_occlusion_map_of_a_face(client: TestClient, portrait: Path) -> None:
    reply = client.post(
        "/v1/occlusion", content=portrait.read_bytes(), headers={"Content-Type": "image/jpeg"}
    )
    body = reply.json()
    assert reply.status_code == 200
    drops = np.asarray(body["drops"])
    assert drops.shape == (CELLS, CELLS)
    assert 0 <= drops.min() < drops.max() <= 1
    png = base64.b64decode(body["crop"])
    assert png.startswith(b"\x89PNG")
    crop = np.asarray(Image.open(io.BytesIO(png)))
    found = map_occlusion(OnnxModel(default_model_path()).predict, crop)  # as `threeages explain` does
    assert AGE_GROUPS[found.group] == body["age_group"]
    np.testing.assert_allclose(found.values, drops, atol=1e-5)
    many = client.post("/v1/occlusion", files=[("images", ("a", b"x"))] * 2)
    beyond = client.post(
        "/v1/occlusion?face=9", content=portrait.read_bytes(), headers={"Content-Type": "image/jpeg"}
    )
    assert (many.status_code, beyond.status_code) == (422, 422)
