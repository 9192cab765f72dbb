"""Labels sent back and drift, in an app whose engine is not started: they need none."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from threeages import Client
from threeages.errors import ConfigError, DataError, ServiceError
from threeages.evaluation.drift import AnswerHistogram
from threeages.files.writing import write_json
from threeages.inference.records import Record
from threeages.inference.runtime import default_model_path
from threeages.labels import AGE_GROUPS
from threeages.server.app import create_app
from threeages.server.monitoring import Monitoring
from threeages.server.schemas import MAX_LABELS
from threeages.server.settings import Settings

KEY = "k" * 20
RIGHT = {"age_group": "MIDDLE", "label": "MIDDLE"}
WRONG = {"age_group": "MIDDLE", "label": "OLD"}


def _client(**settings: object) -> TestClient:
    return TestClient(create_app(default_model_path(), Settings(workers=1, **settings)))  # type: ignore[arg-type]


def _metrics(client: TestClient) -> dict[str, float]:
    lines = client.get("/metrics", headers={"X-API-Key": KEY}).text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


@pytest.fixture
def watched() -> TestClient:
    return _client(max_error=0.2)


def test_labels_are_counted_until_the_alarm(watched: TestClient) -> None:
    state = watched.post("/v1/labels", json={"answers": [RIGHT] * 9 + [WRONG]}).json()
    assert (state["n"], state["risk"], state["target_error"], state["alarm_at"]) == (10, 0.1, 0.2, None)
    found = _metrics(watched)
    assert found['threeages_labels_total{result="right"}'] == 9
    assert (found["threeages_risk"], found["threeages_risk_alarm"]) == (0.1, 0)
    state = watched.post("/v1/labels", json={"answers": [WRONG] * 40}).json()
    assert 10 < state["alarm_at"] <= 50
    found = _metrics(watched)
    assert (found["threeages_risk_alarm"], found["threeages_risk_target"]) == (1, 0.2)
    assert found["threeages_risk_e_value"] == pytest.approx(state["e_value"])


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 422), (b"{}", 422), (b'{"answers": []}', 422), (b'{"answers": [{"age_group": "OLD"}]}', 422),
     (b'{"answers": [{"age_group": "OLD", "label": "old?"}]}', 422),
     (b'{"answers": [{"age_group": "OLD", "label": "OLD", "path": "a.jpg"}]}', 422),
     (b'{"answers": [' + b",".join([b'{"age_group":"OLD","label":"OLD"}'] * (MAX_LABELS + 1)) + b"]}", 422)],
)  # fmt: skip
def test_labels_that_cannot_be_used_are_refused_whole(watched: TestClient, body: bytes, status: int) -> None:
    reply = watched.post("/v1/labels", content=body, headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    assert "answers" in reply.json()["hint"]
    assert np.isnan(_metrics(watched)["threeages_risk"])


def test_the_route_is_guarded_and_its_body_bounded() -> None:
    client = _client(max_error=0.2, api_keys=(KEY,), max_body=2000)
    assert client.post("/v1/labels", json={"answers": [RIGHT]}).status_code == 401
    keyed = {"X-API-Key": KEY}
    assert client.post("/v1/labels", json={"answers": [RIGHT]}, headers=keyed).status_code == 200
    assert client.post("/v1/labels", json={"answers": [RIGHT] * 100}, headers=keyed).status_code == 413
    text = keyed | {"Content-Type": "text/plain"}
    assert client.post("/v1/labels", content=b"{}", headers=text).status_code == 415


def test_without_a_target_error_rate_there_is_nothing_to_watch() -> None:
    client = _client()
    reply = client.post("/v1/labels", json={"answers": [RIGHT]})
    assert reply.status_code == 409
    assert "--max-error" in reply.json()["hint"]
    assert not [name for name in _metrics(client) if name.startswith(("threeages_risk", "threeages_drift"))]


def _records(n: int, weights: tuple[float, float, float], status: str = "ok") -> list[Record]:
    rows = np.random.default_rng(1).dirichlet(weights, n)
    return [Record("x", status, probs=dict(zip(AGE_GROUPS, row.tolist(), strict=True))) for row in rows]


@pytest.fixture
def drift() -> tuple[Monitoring, CollectorRegistry]:
    registry = CollectorRegistry()
    reference = AnswerHistogram.from_probs(np.random.default_rng(0).dirichlet((2, 1, 1), 500))
    return Monitoring(Settings(workers=1, reference=reference), registry), registry


def test_answers_are_watched_for_drift(drift: tuple[Monitoring, CollectorRegistry]) -> None:
    monitoring, registry = drift
    monitoring.watch_records([*_records(150, (2, 1, 1)), Record("a", "corrupt"), Record("b", "no_face")])
    monitoring.watch_records(_records(50, (2, 1, 1), "uncertain") + _records(50, (1, 1, 9), "blurred"))
    assert registry.get_sample_value("threeages_drift_answers") == 200
    assert registry.get_sample_value("threeages_drift_alarm") == 0
    monitoring.watch_records(_records(300, (1, 1, 4)))
    assert registry.get_sample_value("threeages_drift_alarm") == 1
    assert registry.get_sample_value("threeages_drift_e_value", {"score": "age_group"}) > 40  # type: ignore[operator]


def test_the_reference_comes_from_a_thresholds_file(tmp_path: Path) -> None:
    from threeages.server.run import create_settings

    options: dict[str, Any] = {
        **dict.fromkeys(("key_file", "max_error", "coverage", "rate_limit", "allowed_hosts", "cors_origins")),
        **dict.fromkeys(("workers", "max_body_mb", "max_images", "max_megapixels"), 1),
        "host": "localhost",
    }
    histogram = AnswerHistogram.from_probs([[0.2, 0.3, 0.5]])
    write_json(tmp_path / "t.json", {"reference": asdict(histogram)})
    assert create_settings(**options, reference=tmp_path / "t.json").reference == histogram
    with pytest.raises(DataError, match="Cannot read"):
        create_settings(**options, reference=tmp_path / "none.json")
    with pytest.raises(ConfigError, match="level"):
        Settings(alarm_level=1)


def test_every_prediction_request_reaches_the_drift(portrait: Path) -> None:
    reference = AnswerHistogram.from_probs([[0.2, 0.3, 0.5]] * 5)
    with _client(reference=reference) as service:
        for query in ("", "?together=true"):
            reply = service.post(
                f"/v1/predict{query}", content=portrait.read_bytes(), headers={"Content-Type": "image/jpeg"}
            )
            assert reply.status_code == 200
        assert (
            _metrics(service)["threeages_drift_answers"] == 2
        )  # the record of all together is no further face


@contextmanager
def _listening(**settings: object) -> Iterator[str]:
    """The service on a free port of this machine, without its engine; its address."""
    app = create_app(default_model_path(), Settings(workers=1, **settings))  # type: ignore[arg-type]
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.02)
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()


def test_the_client_sends_labels_and_gets_the_risk() -> None:
    with _listening(max_error=0.2) as address, Client(address, retries=0) as client:
        state = client.send_labels([("MIDDLE", "MIDDLE")] * 9 + [("MIDDLE", "OLD")])
        assert (state["n"], state["risk"], state["alarm_at"]) == (10, 0.1, None)
        state = client.send_labels(("OLD", "YOUNG") for _ in range(MAX_LABELS + 40))  # in two requests
        assert state["n"] == MAX_LABELS + 50
        assert 10 < state["alarm_at"] <= 50
        for wrong in ([], [("OLD", "old?")], [("OLD",)], [{"x": 1}], [(["OLD"], "OLD")], None):
            with pytest.raises(ConfigError, match=r"labels|no age group"):
                client.send_labels(wrong)
        assert client.send_labels([("OLD", "OLD")])["n"] == MAX_LABELS + 51


def test_a_service_without_a_target_refuses_labels_of_the_client() -> None:
    with _listening() as address, Client(address, retries=0) as client:
        with pytest.raises(ServiceError, match="without a target error rate") as refused:
            client.send_labels([("OLD", "OLD")])
        assert refused.value.status == 409
        assert "--max-error" in refused.value.hint
