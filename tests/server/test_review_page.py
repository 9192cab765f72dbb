"""The review's page in a real Chromium: by keyboard alone; no console error, no request to another host."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from threeages.data.corrections import read_decisions
from threeages.data.manifest import load_manifest
from threeages.data.synthetic import write_face_set
from threeages.evaluation.suspects import DUPLICATE, PROBABILITIES, Suspect
from threeages.server.review import create_review_app
from threeages.server.review_set import ReviewSet
from threeages.server.run import is_loopback
from threeages.server.settings import Settings

pytestmark = [pytest.mark.browser, pytest.mark.slow]

KEY = "a-long-enough-key"
LOADED = (
    "() => { const i = document.querySelector('#image'); return i.src && i.complete && i.naturalWidth > 0; }"
)


@pytest.fixture
def review(tmp_path: Path) -> ReviewSet:
    """Drawn faces; three suspects, all of them YOUNG by their label."""
    manifest = load_manifest(write_face_set(tmp_path / "faces", identities=3, per_identity=3))
    suspects = (
        Suspect(0, DUPLICATE, 1, others=(3,)),
        Suspect(1, PROBABILITIES, 2, 0.1, (0.1, 0.2, 0.7)),
        Suspect(2, PROBABILITIES, 1, 0.2, (0.2, 0.6, 0.2)),
    )
    return ReviewSet(manifest, suspects, tmp_path / "c.csv", "ann")


@pytest.fixture
def start(review: ReviewSet) -> Iterator[Callable[..., str]]:
    """Serves the review on a free port of this machine; its address."""
    running = []

    def run(**settings: Any) -> str:
        app = create_review_app(review, Settings(workers=1, **settings))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        while not server.started:
            assert thread.is_alive()
            thread.join(0.02)
        host, port = server.servers[0].sockets[0].getsockname()
        assert is_loopback(host)
        return f"http://{host}:{port}"

    yield run
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture
def open_page(browser: Any, start: Callable[..., str]) -> Iterator[Callable[..., Any]]:
    """Opens the page; at the end there was no console error and no request to another host."""
    errors: list[str] = []
    hosts: set[str] = set()
    pages = []
    address = start()

    def open_it(**options: Any) -> Any:
        page = browser.new_page(**options)
        pages.append(page)
        page.on("console", lambda m: errors.append(m.text) if m.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda r: hosts.add(urlsplit(r.url).netloc))
        page.goto(address)
        page.wait_for_function(LOADED)
        return page

    yield open_it
    for page in pages:
        page.close()
    assert errors == []
    assert hosts <= {urlsplit(address).netloc, ""}


def _press(page: Any, key: str, place: str) -> None:
    page.keyboard.press(key)
    page.wait_for_function("(text) => document.querySelector('#place').textContent === text", arg=place)


def test_a_review_by_keyboard_alone(open_page: Callable[..., Any], review: ReviewSet) -> None:
    page = open_page()
    assert page.inner_text("#label") == "YOUNG"
    assert "another label elsewhere" in page.inner_text("#reason")
    assert page.inner_text("#gallery .group") == "MIDDLE"
    _press(page, "Enter", "Label 2 of 3")
    assert not page.is_visible("#copies")
    assert page.inner_text("#probs dt:not(.unlikely)") == "OLD"
    _press(page, "3", "Label 3 of 3")
    assert page.inner_text("#status") == "2 decided: 1 corrected, 1 accepted; 0 skipped"
    page.keyboard.press("s")
    page.wait_for_selector("#done:not([hidden])")
    assert "--corrections c.csv" in page.inner_text("#done")
    assert page.inner_text("#status") == "2 decided: 1 corrected, 1 accepted; 1 skipped"
    assert page.evaluate("() => document.querySelector('#progress').value") == 2
    assert "All labels were shown" in page.inner_text("#done")
    assert "1 skipped: the same command asks about them again." in page.inner_text("#done")
    found = [(row.path, row.new, row.decision) for row in read_decisions(review.out)]
    paths = review.manifest.paths
    assert found == [
        (paths[0], "YOUNG", "accepted"),
        (paths[1], "OLD", "corrected"),
        (paths[2], "", "skipped"),
    ]


def test_back_replaces_a_decision(open_page: Callable[..., Any], review: ReviewSet) -> None:
    page = open_page()
    _press(page, "2", "Label 2 of 3")
    _press(page, "b", "Label 1 of 3")
    assert "Decided before: MIDDLE" in page.inner_text("#earlier")
    _press(page, "a", "Label 2 of 3")
    assert [row.new for row in read_decisions(review.out)] == ["MIDDLE", "YOUNG"]
    assert page.inner_text("#status") == "1 decided: 0 corrected, 1 accepted; 0 skipped"


def test_a_page_opened_again_resumes(open_page: Callable[..., Any]) -> None:
    _press(open_page(), "1", "Label 2 of 3")
    again = open_page()
    assert again.inner_text("#place") == "Label 2 of 3"


def test_the_model_can_be_hidden(open_page: Callable[..., Any]) -> None:
    page = open_page()
    _press(page, "1", "Label 2 of 3")
    assert page.is_visible("#probs")
    page.keyboard.press("h")
    assert not page.is_visible("#probs")
    assert not page.is_visible("#reason")


def test_a_decision_that_cannot_be_written_keeps_its_place(
    browser: Any, start: Callable[..., str], review: ReviewSet
) -> None:
    page = browser.new_page()
    page.goto(start())
    page.wait_for_function(LOADED)
    review.out.write_text("path,label\n")
    page.keyboard.press("3")
    page.wait_for_selector("#error:not([hidden])")
    assert "no column digest" in page.inner_text("#error")
    assert page.inner_text("#place") == "Label 1 of 3"
    page.close()


def test_a_key_opens_the_review(browser: Any, start: Callable[..., str]) -> None:
    page = browser.new_page()
    page.goto(start(api_keys=(KEY,)))
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key", KEY)
    page.click("#key-dialog button")
    page.wait_for_function(LOADED)
    page.close()


def test_a_phone_shows_all_and_every_control_has_a_name(open_page: Callable[..., Any]) -> None:
    page = open_page(viewport={"width": 360, "height": 700})
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    nameless = page.evaluate(
        "() => [...document.querySelectorAll('button, img:not([alt]), input')]"
        ".filter((e) => !(e.innerText || e.ariaLabel || e.labels?.length) && e.offsetParent).map((e) => e.id)"
    )
    assert nameless == []
