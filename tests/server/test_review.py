"""The review's app without a browser: what it shows, writes and refuses."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from threeages.data.corrections import add_decision, decide, read_decisions
from threeages.data.manifest import Manifest
from threeages.errors import ConfigError
from threeages.evaluation.suspects import DUPLICATE, PROBABILITIES, Suspect
from threeages.server.review import create_review_app, create_review_settings
from threeages.server.review_set import ReviewSet
from threeages.server.settings import Settings

KEY = "a-long-enough-key"


@pytest.fixture
def review(tmp_path: Path) -> ReviewSet:
    """Three suspects: two copies with two labels, and a label that a model contradicts."""
    names = ("a.png", "b.png", "c.png", "d.png")
    for i, name in enumerate(names):
        Image.new("RGB", (2000 if i == 2 else 60, 60), (60 * i, 20, 20)).save(tmp_path / name)
    manifest = Manifest(tmp_path, names, np.asarray([0, 1, 2, 0]))
    suspects = (
        Suspect(0, DUPLICATE, None, others=(1,)),
        Suspect(1, DUPLICATE, None, others=(0,)),
        Suspect(2, PROBABILITIES, 0, 0.1, (0.8, 0.1, 0.1)),
    )
    return ReviewSet(manifest, suspects, tmp_path / "c.csv", "ann")


@pytest.fixture
def client(review: ReviewSet) -> Iterator[TestClient]:
    with TestClient(create_review_app(review)) as client:
        yield client


def _open(client: TestClient) -> list[int]:
    return list(client.get("/v1/review").json()["open"])


def test_it_shows_the_suspects_in_their_order(client: TestClient) -> None:
    found = client.get("/v1/review").json()
    assert found["open"] == [0, 1, 2]
    assert [item["label"] for item in found["items"]] == ["YOUNG", "MIDDLE", "OLD"]
    assert found["items"][0]["others"] == [{"row": 1, "path": "b.png", "label": "MIDDLE"}]
    assert found["items"][0]["probs"] is None
    assert found["items"][2]["suggestion"] == "YOUNG"
    assert found["items"][2]["probs"] == {"YOUNG": 0.8, "MIDDLE": 0.1, "OLD": 0.1}


def test_decisions_are_written_and_resumed(client: TestClient, review: ReviewSet) -> None:
    first = client.post("/v1/decisions", json={"number": 0, "label": "OLD"}).json()
    assert first == {"open": [1, 2], "decided": {"0": "OLD"}}
    client.post("/v1/decisions", json={"number": 1, "label": "MIDDLE"})
    rows = read_decisions(review.out)
    assert [(row.path, row.old, row.new, row.decision) for row in rows] == [
        ("a.png", "YOUNG", "OLD", "corrected"),
        ("b.png", "MIDDLE", "MIDDLE", "accepted"),
    ]
    assert {row.reviewer for row in rows} == {"ann"}
    with TestClient(create_review_app(review)) as again:
        assert _open(again) == [2]


def test_a_second_decision_of_a_reviewer_replaces_the_first(client: TestClient) -> None:
    client.post("/v1/decisions", json={"number": 0, "label": "OLD"})
    found = client.post("/v1/decisions", json={"number": 0, "label": "YOUNG"}).json()
    assert found["decided"] == {"0": "YOUNG"}


def test_what_was_skipped_comes_last(client: TestClient) -> None:
    found = client.post("/v1/decisions", json={"number": 0, "label": ""}).json()
    assert found == {"open": [1, 2, 0], "decided": {"0": ""}}


def test_what_another_reviewer_decided_is_asked_again_only_independently(
    client: TestClient, review: ReviewSet
) -> None:
    file = review.manifest.files()[1]
    add_decision(review.out, decide("b.png", file, "MIDDLE", "OLD", "bo"))
    assert _open(client) == [0, 2]
    with TestClient(create_review_app(replace(review, independent=True))) as alone:
        assert _open(alone) == [0, 1, 2]


def test_a_skip_of_one_reviewer_hides_no_decision_of_another(client: TestClient, review: ReviewSet) -> None:
    file = review.manifest.files()[1]
    client.post("/v1/decisions", json={"number": 1, "label": ""})
    add_decision(review.out, decide("b.png", file, "MIDDLE", "OLD", "bo"))
    assert _open(client) == [0, 2]


def test_images_are_those_of_suspects_and_their_copies_alone(client: TestClient) -> None:
    reply = client.get("/v1/images/2")
    assert reply.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(reply.content)).size == (1024, 31)
    assert client.get("/v1/images/1").status_code == 200
    assert client.get("/v1/images/3").status_code == 404
    assert client.get("/v1/images/..%2f..%2fc.csv").status_code in {404, 422}


def test_an_image_that_is_gone_is_an_error_in_words(client: TestClient, review: ReviewSet) -> None:
    review.manifest.files()[0].unlink()
    assert client.get("/v1/images/0").status_code == 422
    reply = client.post("/v1/decisions", json={"number": 0, "label": "OLD"})
    assert reply.status_code == 422
    assert not review.out.exists()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({}, 415),
        ({"Content-Type": "application/json", "Origin": "https://evil.example"}, 403),
        ({"Content-Type": "application/json", "Origin": "null"}, 403),
        ({"Content-Type": "application/json", "Origin": "http://testserver"}, 200),
    ],
)
def test_only_its_own_page_may_decide(
    client: TestClient, review: ReviewSet, headers: dict[str, str], status: int
) -> None:
    body = b'{"number": 0, "label": "OLD"}'
    reply = client.post("/v1/decisions", content=body, headers=headers)
    assert reply.status_code in ({415, 422} if status == 415 else {status})
    assert review.out.exists() == (status == 200)


@pytest.mark.parametrize("choice", [{"number": 9, "label": "OLD"}, {"number": -1, "label": "OLD"},
                                    {"number": 0, "label": "BABY"}, {"number": 0}])  # fmt: skip
def test_a_decision_of_nothing_is_refused(
    client: TestClient, review: ReviewSet, choice: dict[str, object]
) -> None:
    assert client.post("/v1/decisions", json=choice).status_code in {404, 422}
    assert not review.out.exists()


def test_a_damaged_file_is_named_and_kept(client: TestClient, review: ReviewSet) -> None:
    review.out.write_text("path,label\n")
    reply = client.post("/v1/decisions", json={"number": 0, "label": "OLD"})
    assert "no column digest" in reply.json()["detail"]
    assert review.out.read_text() == "path,label\n"


def test_it_has_the_guards_of_the_service(review: ReviewSet, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(KEY)
    settings = create_review_settings("127.0.0.1", api_keys=tmp_path / "keys")
    with TestClient(create_review_app(review, settings), base_url="http://localhost") as client:
        page = client.get("/")
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
        assert client.get("/v1/review").status_code == 401
        assert client.get("/v1/images/0").status_code == 401
        assert client.get("/v1/review", headers={"X-API-Key": KEY}).status_code == 200


def test_the_network_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THREEAGES_API_KEYS", raising=False)
    with pytest.raises(ConfigError, match="everyone in the network"):
        create_review_settings("0.0.0.0")
    monkeypatch.setenv("THREEAGES_API_KEYS", KEY)
    assert create_review_settings("0.0.0.0").api_keys == (KEY,)
    assert isinstance(create_review_settings("127.0.0.1"), Settings)
