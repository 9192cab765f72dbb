"""The page in a real Chromium: what a person sees and does; no console error, no request to another host."""

import base64
import csv
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
DROP = """async ([data, name]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
  const options = { bubbles: true, cancelable: true, dataTransfer: transfer };
  document.querySelector("#drop").dispatchEvent(new DragEvent("drop", options));
}"""
PASTE = (
    DROP.replace("DragEvent", "ClipboardEvent")
    .replace('"drop"', '"paste"')
    .replace("dataTransfer", "clipboardData")
)
BOXES = """() => {
  const image = document.querySelector(".frame img").getBoundingClientRect();
  const box = document.querySelector(".box").getBoundingClientRect();
  const x = (v) => (v - image.left) / image.width, y = (v) => (v - image.top) / image.height;
  return [x(box.left), y(box.top), x(box.right), y(box.bottom)];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any, service: str) -> Iterator[Callable[..., Any]]:
    """Opens the page; at the end there was no console message of a fault and no request elsewhere."""
    faults: list[str] = []
    hosts: set[str] = set()
    pages = []

    def start(address: str = service, **options: Any) -> Any:
        page = browser.new_page(**options)
        pages.append(page)
        page.on("console", lambda m: faults.append(m.text) if m.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: hosts.add(urlsplit(r.url).netloc))
        page.goto(address)
        return page

    yield start
    for page in pages:
        page.close()
    assert faults == []
    assert hosts <= {urlsplit(service).netloc, ""}  # '': the page's own blobs


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    path = tmp_path / "wall.png"
    Image.new("RGB", (200, 150), "#446688").save(path)
    return path


def _add(page: Any, *paths: Path) -> None:
    page.set_input_files("#files", list(paths))
    page.wait_for_selector(".photo:not(.waiting)")
    page.wait_for_function("() => !document.querySelector('.waiting')")


def _encoded(path: Path) -> list[str]:
    return [base64.b64encode(path.read_bytes()).decode(), path.name]


@pytest.mark.parametrize("action", [DROP, PASTE])
def test_a_photo_gets_a_box_and_a_group(
    open_page: Callable[..., Any], offline: Any, portrait: Path, action: str
) -> None:
    page = open_page()
    page.evaluate(action, _encoded(portrait))
    page.wait_for_selector(".face .group")
    (record,) = offline.predict([portrait])
    assert page.inner_text(".face .group") == (record.age_group or "No answer")
    with Image.open(portrait) as image:
        width, height = image.size
    expected = [v / side for v, side in zip(record.box, (width, height) * 2, strict=True)]
    assert page.evaluate(BOXES) == pytest.approx(expected, abs=0.01)
    shares = page.locator(".probs .value").all_inner_texts()
    assert shares == [f"{round(100 * p)} %" for p in record.probs.values()]


def test_a_picture_without_a_face_gets_the_reason(open_page: Callable[..., Any], blank: Path) -> None:
    page = open_page()
    _add(page, blank)
    assert page.inner_text(".answer > .reason") == "No face was found in this photo."
    assert page.locator(".box").count() == 0


def test_a_gallery_and_its_download(
    open_page: Callable[..., Any], portrait: Path, blank: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "=1+1<img src=x onerror=alert(1)>.jpg"
    hostile.write_text("no image")
    paths = [portrait, blank, hostile, portrait, portrait, blank]
    page = open_page()
    _add(page, *paths)
    assert page.locator(".photo").count() == 6
    assert page.inner_text("#status") == "6 photos, 3 faces"
    with page.expect_download() as download:
        page.click("#download")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert [r["status"] for r in rows] == ["ok", "no_face", "not_an_image", "ok", "ok", "no_face"]
    assert rows[0]["path"] == portrait.name
    assert rows[2]["path"].startswith("'=1+1<img")
    assert sum(float(rows[0][f"prob_{name}"]) for name in ("young", "middle", "old")) == pytest.approx(
        1, abs=1e-4
    )
    page.click("#clear")
    assert page.locator(".photo").count() == 0
    assert page.is_hidden("#results")


def test_what_counted_is_shown_on_demand(open_page: Callable[..., Any], portrait: Path) -> None:
    page = open_page()
    _add(page, portrait)
    page.click(".heat")
    page.wait_for_selector(".heatmap canvas")
    button = page.locator(".heat")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert page.is_hidden(".heatmap")


def test_the_camera_takes_a_photo(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.click("#camera")
    page.wait_for_function("() => document.querySelector('#video').videoWidth > 0")
    page.click("#shoot")
    page.wait_for_selector(".photo:not(.waiting)")
    assert page.inner_text(".photo h3") == "camera-1.jpg"
    assert page.evaluate("() => document.querySelector('#video').srcObject") is None


def test_dark_and_light_are_different_pictures(
    open_page: Callable[..., Any], portrait: Path, tmp_path: Path
) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme)
        _add(page, portrait)
        file = tmp_path / f"{scheme}.png"
        page.screenshot(path=file)
        with Image.open(file) as image:
            brightness[scheme] = image.convert("L").getpixel((5, 5))
    assert brightness["light"] > 200
    assert brightness["dark"] < 60
    page.click("#theme")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "light"


def test_a_phone_shows_all_without_scrolling_sideways(
    open_page: Callable[..., Any], portrait: Path, blank: Path
) -> None:
    page = open_page(viewport={"width": 360, "height": 700})
    _add(page, portrait, blank)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_keyboard_and_names(open_page: Callable[..., Any], portrait: Path) -> None:
    page = open_page()
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.id || document.activeElement.className"))
    assert reached == ["skip", "theme", "choose", "camera", reached[4]]
    with page.expect_file_chooser() as chooser:
        page.focus("#choose")
        page.keyboard.press("Enter")
    chooser.value.set_files(portrait)
    page.wait_for_selector(".face .group")
    assert page.get_attribute(".frame img", "alt") == f"Photo {portrait.name}"
    nameless = page.evaluate(
        "() => [...document.querySelectorAll('button:not([hidden]), img:not([alt]), input:not([hidden])')]"
        ".filter((e) => !(e.innerText || e.ariaLabel || e.labels?.length) && e.offsetParent).map((e) => e.id)"
    )
    assert nameless == []
    assert page.get_attribute("#status", "aria-live") == "polite"


def test_a_key_is_asked_for_and_kept(
    browser: Any, start_service: Callable[..., Any], tmp_path: Path, portrait: Path
) -> None:
    (tmp_path / "keys").write_text("a-long-enough-key\n")
    with start_service("--api-keys", str(tmp_path / "keys")) as (address, _):
        page = browser.new_page()
        page.goto(address)
        page.set_input_files("#files", portrait)
        page.wait_for_selector("#key-dialog[open]")
        page.fill("#key", "a-long-enough-key")
        page.click("#key-dialog button")
        page.wait_for_selector(".face .group")
        page.close()
