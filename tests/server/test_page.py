"""The page in a real Chromium: what users see and do; no console error, no request to another host."""

import base64
import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from threeages import Client, server
from threeages.inference.records import Record
from threeages.inference.writers import format_records

pytestmark = [pytest.mark.browser, pytest.mark.slow]

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


def _is_error(message: Any, refused: int) -> bool:
    """Whether a message of the console is an error that the test does not cause by the status `refused`."""
    return message.type in {"error", "warning"} and not (refused and f"status of {refused}" in message.text)


@pytest.fixture
def open_page(browser: Any, service: str) -> Iterator[Callable[..., Any]]:
    """Opens the page; at the end there was no console error and no request to another host."""
    errors: list[str] = []
    hosts: set[str] = set()
    own = {urlsplit(service).netloc, ""}  # '': the page's own blobs
    pages = []

    def start(address: str = service, refused: int = 0, **options: Any) -> Any:
        own.add(urlsplit(address).netloc)
        page = browser.new_page(**options)
        pages.append(page)
        page.on("console", lambda m: errors.append(m.text) if _is_error(m, refused) else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda r: hosts.add(urlsplit(r.url).netloc))
        page.goto(address)
        return page

    yield start
    for page in pages:
        page.close()
    assert errors == []
    assert hosts <= own


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    path = tmp_path / "wall.png"
    Image.new("RGB", (200, 150), "#446688").save(path)
    return path


def _add(page: Any, *paths: Path) -> None:
    page.set_input_files("#files", list(paths))
    page.wait_for_selector(".photo:not(.waiting)")
    page.wait_for_function("() => !document.querySelector('.waiting')")


def _add_together(page: Any, *paths: Path) -> None:
    """Add photos of one person and wait for the answer for all of them together."""
    page.check("#together")
    _add(page, *paths)
    page.wait_for_selector(".identity:not(.waiting) .combined")


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
    assert page.inner_text(".answer > .reason") == "No face was found."
    assert page.locator(".box").count() == 0


def test_a_gallery_and_its_download(
    open_page: Callable[..., Any], portrait: Path, blank: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "=1+1<img src=x onerror=alert(1)>.jpg"
    hostile.write_text("no image")
    page = open_page()
    _add(page, portrait, blank, hostile, portrait, portrait, blank)
    assert page.locator(".photo").count() == 6
    assert page.inner_text("#status") == "6 photos, 3 faces"
    with page.expect_download() as download:
        page.click("#download")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert [r["status"] for r in rows] == ["ok", "no_face", "not_an_image", "ok", "ok", "no_face"]
    page.click("#clear")
    assert page.locator(".photo").count() == 0
    assert page.is_hidden("#results")


@pytest.mark.parametrize("options", [(), ("--coverage", "0.9", "--max-error", "0.2")])
def test_the_download_is_the_csv_of_the_command(
    open_page: Callable[..., Any],
    start_service: Callable[..., Any],
    portrait: Path,
    blank: Path,
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    names = ("=1+1.jpg", 'a, "b".png', "-x.jpg", "é 漢.jpg")
    paths = [
        shutil.copy(path, tmp_path / name) for path, name in zip([portrait, blank] * 2, names, strict=True)
    ]
    with start_service(*options) as (address, _):
        page = open_page(address)
        _add(page, *paths)
        with page.expect_download() as download:
            page.click("#download")
        found = Path(download.value.path()).read_bytes()
    command = [sys.executable, "-m", "threeages", "predict", "--csv", *options, "--", *names]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert found == done.stdout
    assert found.count(b"\n") == 5


def test_the_page_writes_the_csv_of_the_library(open_page: Callable[..., Any]) -> None:
    records = [
        Record("a\n\r,.jpg", "ok", (0, 0, 9, 9), "OLD", {"YOUNG": 1e-06, "MIDDLE": 0.0, "OLD": 0.999999},
               0.999999, 70.0, 62.5, 100.0, ["MIDDLE", "OLD"]),
        Record("@b", "failed", message="-x"),
        Record("\tc", "uncertain", (0, 0, 9, 9), None, {"YOUNG": 0.4, "MIDDLE": 0.35, "OLD": 0.25}),
    ]  # fmt: skip
    script = (Path(server.__file__).parent / "page" / "app.js").read_text(encoding="utf-8")
    functions = script[script.index("function csvCell") : script.index("function download")]
    page = open_page()
    raw = [record.to_dict() for record in records]
    code = "async (records) => { const model = await (await fetch('/v1/model')).json();"
    found = page.evaluate(f"{code} {functions} return toCsv(records); }}", raw)
    assert found == format_records(records, "csv")


def test_the_occlusion_map_is_shown_on_demand(open_page: Callable[..., Any], portrait: Path) -> None:
    page = open_page()
    _add(page, portrait)
    page.click(".occlude")
    page.wait_for_selector(".occlusion canvas")
    button = page.locator(".occlude")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert page.is_hidden(".occlusion")


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


def _tab_through(page: Any, count: int) -> list[str]:
    """Id or class of the elements that get the focus, one by one."""
    reached = []
    for _ in range(count):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.id || document.activeElement.className"))
    return reached


def test_keyboard_and_names(open_page: Callable[..., Any], portrait: Path) -> None:
    page = open_page()
    assert _tab_through(page, 5) == ["skip", "theme", "choose", "camera", "together"]
    _add(page, portrait)
    page.focus("#together")
    assert _tab_through(page, 3) == ["download", "clear", "quiet occlude"]
    page.click("#clear")
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


def test_a_key_opens_the_page_and_is_kept(
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


@pytest.fixture
def another(portrait: Path, tmp_path: Path) -> Path:
    """Another photo of the person of the portrait."""
    with Image.open(portrait) as image:
        image.convert("L").crop((0, 0, image.width, image.height * 3 // 4)).save(tmp_path / "another.png")
    return tmp_path / "another.png"


def test_photos_of_one_person_get_one_answer_first(
    open_page: Callable[..., Any], offline: Any, portrait: Path, another: Path, blank: Path
) -> None:
    page = open_page()
    _add_together(page, portrait, another, blank)
    *_, record = offline.predict_together([portrait, another, blank])
    combined = page.locator(".combined")
    assert combined.locator(".group").inner_text() == record.age_group
    assert combined.locator(".value").all_inner_texts() == [
        f"{round(100 * p)} %" for p in record.probs.values()
    ]
    assert combined.locator("h3").inner_text() == "One person, 3 photos together"
    assert combined.locator(".occlude").is_hidden()
    assert page.locator(".identity .photo").count() == 3
    tops = [page.locator(where).first.bounding_box()["y"] for where in (".combined .group", ".photo")]
    assert tops == sorted(tops)
    assert page.inner_text("#status") == "3 photos, 2 faces"  # the combined answer is no face


def test_a_person_without_a_face_gets_the_reason(open_page: Callable[..., Any], blank: Path) -> None:
    page = open_page()
    _add_together(page, blank, blank)
    assert page.inner_text(".combined > .reason") == "No face was found."
    assert page.locator(".combined .group").count() == 0


def test_every_selection_is_a_person_of_its_own(
    open_page: Callable[..., Any], offline: Any, portrait: Path, another: Path
) -> None:
    page = open_page()
    _add_together(page, portrait)
    _add_together(page, another)
    page.uncheck("#together")
    _add(page, portrait)
    assert page.locator(".identity").count() == 2
    assert page.locator("#gallery > .photo").count() == 1
    with page.expect_file_chooser() as chooser:
        page.locator(".more").first.click()
    chooser.value.set_files(another)
    page.wait_for_function("() => document.querySelectorAll('.identity .photo').length === 3")
    page.wait_for_function("() => !document.querySelector('.waiting')")
    titles = page.locator(".identity h3").all_inner_texts()
    assert titles[:1] == ["One person, 2 photos together"]
    *_, record = offline.predict_together([portrait, another])
    shares = page.locator(".combined").first.locator(".value").all_inner_texts()
    assert shares == [f"{round(100 * p)} %" for p in record.probs.values()]
    assert page.locator(".photo .face").count() == 4  # an answer replaces the one before


def test_photos_dropped_on_a_person_are_added(
    open_page: Callable[..., Any], portrait: Path, another: Path
) -> None:
    page = open_page()
    _add_together(page, portrait)
    page.evaluate(DROP.replace("#drop", ".identity"), _encoded(another))
    page.wait_for_function("() => document.querySelectorAll('.photo:not(.waiting)').length === 2")
    assert page.locator(".identity").count() == 1
    page.evaluate(DROP, _encoded(another))
    page.wait_for_function("() => document.querySelectorAll('.identity:not(.waiting)').length === 2")


def test_the_download_has_the_combined_answers_as_the_command_has(
    open_page: Callable[..., Any], portrait: Path, another: Path, blank: Path, tmp_path: Path
) -> None:
    names = ("a.jpg", "b.png", "c.png")
    for path, name in zip((portrait, another, blank), names, strict=True):
        shutil.copy(path, tmp_path / name)
    page = open_page()
    _add_together(page, *(tmp_path / name for name in names))
    with page.expect_download() as download:
        page.click("#download")
    found = Path(download.value.path()).read_bytes()
    command = [sys.executable, "-m", "threeages", "predict", "--together", "--csv", *names]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert found == done.stdout
    assert found.splitlines()[-1].startswith(b"together,ok,")


def test_more_photos_of_one_person_than_a_request_takes_are_refused(
    open_page: Callable[..., Any], start_service: Callable[..., Any], portrait: Path
) -> None:
    with start_service("--max-images", "2") as (address, _):
        page = open_page(address)
        _add_together(page, portrait, portrait, portrait)
        reason = page.inner_text(".combined > .reason")
        assert reason.startswith("3 photos of 1 MiB is more than this service takes")
        page.click("#clear")
        _add_together(page, portrait, portrait)
        assert page.locator(".combined .group").count() == 1


@pytest.mark.parametrize("strip", [True, False])
def test_the_page_works_under_a_sub_path(
    open_page: Callable[..., Any],
    start_service: Callable[..., Any],
    reverse_proxy: Callable[..., Any],
    portrait: Path,
    strip: bool,
) -> None:
    options = () if strip else ("--root-path", "/apps/faces")
    with (
        start_service("--allow-host", "localhost", *options) as (address, _),
        reverse_proxy(address, "/apps/faces", strip=strip) as outside,
    ):
        for slash in "/" if strip else ("/", ""):
            page = open_page(outside + slash)
            _add_together(page, portrait, portrait)
            page.click(".photo .occlude")
            page.wait_for_selector(".occlusion canvas")
            assert page.inner_text("#model").startswith("threeages")
            assert page.evaluate("() => document.querySelector('.brand img').naturalWidth") > 0
            with page.expect_download() as download:
                page.click("#download")
            assert Path(download.value.path()).read_text(encoding="utf-8").count("\n") == 4
        with Client(outside) as client:
            records = client.predict([portrait], together=True)
            assert [r.status for r in records] == ["ok", "ok"]


def test_a_proxy_that_takes_less_gets_one_photo_at_a_time(
    open_page: Callable[..., Any], service: str, reverse_proxy: Callable[..., Any], portrait: Path
) -> None:
    limit = portrait.stat().st_size * 3 // 2
    with reverse_proxy(service, "", strip=True, max_body=limit) as outside:
        page = open_page(outside, refused=413)
        _add(page, portrait, portrait, portrait)
        assert page.locator(".photo .group").count() == 3


def _drop_from_disk(page: Any, *paths: Path) -> None:
    """Drop files and folders on the page as a file manager does."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 200, "data": data})


def test_every_folder_dropped_is_a_person(
    open_page: Callable[..., Any], portrait: Path, another: Path, blank: Path, tmp_path: Path
) -> None:
    for name in ("one/a", "two"):
        (tmp_path / name).mkdir(parents=True)
    for path, target in ((portrait, "one/1.jpg"), (another, "one/a/2.png"), (portrait, "two/3.jpg")):
        shutil.copy(path, tmp_path / target)
    for target in ("one/notes.txt", "one/.hidden.jpg"):
        (tmp_path / target).write_text("no photo")
    page = open_page()
    page.check("#together")
    _drop_from_disk(page, tmp_path / "one", tmp_path / "two", blank)
    page.wait_for_function("() => document.querySelectorAll('.identity:not(.waiting)').length === 3")
    names = [item.locator(".photo h3").all_inner_texts() for item in page.locator(".identity").all()]
    assert names == [["wall.png"], ["1.jpg", "2.png"], ["3.jpg"]]
    page.click("#clear")
    page.uncheck("#together")
    _drop_from_disk(page, tmp_path / "one", tmp_path / "two")
    page.wait_for_function("() => document.querySelectorAll('.photo:not(.waiting)').length === 3")
    assert page.locator(".identity").count() == 0
