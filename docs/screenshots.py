"""Take the pictures in docs/pictures; all but the maps need Chromium.

python docs/screenshots.py ADDRESS    # of the page of a running service
python docs/screenshots.py report     # of a report on drawn faces
python docs/screenshots.py maps       # of two portraits with their occlusion maps
"""

import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from threeages.data.synthetic import write_face_set
from threeages.demo import find_portraits
from threeages.faces.yunet import YuNet
from threeages.inference.explain import explain_images
from threeages.inference.explanations import draw_explanation
from threeages.inference.heatmap import stack_tiles
from threeages.inference.occlusion import map_occlusion
from threeages.inference.prepare import FacePreparer
from threeages.inference.runtime import OnnxModel, default_model_path

OUT = Path(__file__).parent / "pictures"
FLAGS = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update"]


def take_report() -> None:
    """Take the picture of a report on the answers of a model trained on drawn faces for a moment."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        faces = write_face_set(folder / "faces", identities=120, per_identity=5)
        run = folder / "run"
        _run("train", faces, "--recipe", "frozen-features", "--head-epochs", 4, "--out", run)
        _run("data", "audit", faces, "--out", folder / "audit")
        _run("report", run, "--root", faces.parent, "--audit", folder / "audit" / "audit.json")
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            size = {"width": 1100, "height": 1500}
            page = browser.new_page(viewport=size, color_scheme="light")  # type: ignore[arg-type]
            page.goto((run / "report.html").as_uri())
            page.screenshot(path=OUT / "report.jpg", type="jpeg", quality=86)
            browser.close()


def _run(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "threeages", *map(str, arguments)], check=True)


def take_pages(address: str) -> None:
    """Take every picture of the page at the address."""
    portraits = find_portraits()
    gallery = [*portraits, *(p for p in [portraits[-1].with_name("coffee.png")] if p.exists())]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        _take(browser, address, portraits[:1], "light", 1180, "page-light.jpg")
        _take(browser, address, portraits[-1:], "dark", 1180, "page-dark.jpg")
        _take(browser, address, gallery, "light", 1180, "page-gallery.jpg")
        _take(browser, address, gallery[-2:], "dark", 390, "page-phone.jpg")
        with tempfile.TemporaryDirectory() as folder:
            same = [portraits[0], *_make_variants(portraits[0], Path(folder))]
            _take(browser, address, same, "light", 1180, "page-together.jpg", together=True)
        browser.close()


def draw_maps(portraits: list[Path], out: Path) -> None:
    """Draw the portraits with their occlusion maps, side by side."""
    model = OnnxModel(default_model_path())
    preparer = FacePreparer(model.signature, YuNet())
    found = explain_images(
        portraits, preparer, partial(map_occlusion, model.predict), predict=model.predict, largest=True
    )
    tiles = [tile for one in found for tile in draw_explanation(one)]
    Image.fromarray(stack_tiles(tiles)).save(out, quality=88)


def _make_variants(portrait: Path, folder: Path) -> list[Path]:
    """The portrait in grey and mirrored, and a part of it, as further photos of the same person."""
    paths = [folder / "mirrored.jpg", folder / "close.jpg"]
    with Image.open(portrait) as image:
        width, height = image.size
        image.convert("L").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(paths[0])
        image.crop((width // 6, 0, width * 5 // 6, height * 2 // 3)).save(paths[1])
    return paths


def _take(
    browser: Browser,
    address: str,
    photos: list[Path],
    scheme: str,
    width: int,
    name: str,
    *,
    together: bool = False,
) -> None:
    size = {"width": width, "height": 760}
    page = browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(address)
    page.set_checked("#together", together)
    if photos:
        page.set_input_files("#files", photos)
        page.wait_for_selector("progress.done", state="attached")
        page.wait_for_function("() => !document.querySelector('.waiting')")
    if name == "page-light.jpg":
        page.click(".occlude")
        page.wait_for_selector(".occlusion canvas")
    page.screenshot(path=OUT / name, full_page=True, type="jpeg", quality=88)
    page.close()


if __name__ == "__main__":
    if sys.argv[1:] == ["report"]:
        take_report()
    elif sys.argv[1:] == ["maps"]:
        draw_maps(find_portraits(), OUT / "maps.jpg")
    else:
        take_pages(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
