"""Take docs/pictures/review.jpg, the review page on drawn faces; needs Chromium.

python docs/review_picture.py
"""

import shutil
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import uvicorn
from playwright.sync_api import sync_playwright
from screenshots import FLAGS, OUT

from threeages.data.manifest import Manifest, load_manifest
from threeages.data.synthetic import write_face_set
from threeages.evaluation.suspects import DUPLICATE, PROBABILITIES, Suspect
from threeages.server.review import create_review_app
from threeages.server.review_set import ReviewSet
from threeages.server.settings import Settings


def main() -> None:
    """Serve a review of drawn faces and take its first page."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = load_manifest(write_face_set(Path(folder) / "set", identities=9, per_identity=4, size=256))
        shutil.copy(manifest.files()[8], manifest.root / "copy.jpg")
        app = create_review_app(
            _create_review(manifest, Path(folder) / "corrections.csv"), Settings(workers=1)
        )
        server = uvicorn.Server(uvicorn.Config(app, port=8001, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        _take()
        server.should_exit = True
        thread.join()


def _create_review(manifest: Manifest, out: Path) -> ReviewSet:
    """The first suspect is OLD by its label and YOUNG by that of its copy."""
    labels = np.append(manifest.labels, 0)
    given = replace(manifest, paths=(*manifest.paths, "copy.jpg"), labels=labels, columns={})
    copies = Suspect(8, DUPLICATE, None, 0.6, (0.04, 0.21, 0.75), (len(manifest),))
    return ReviewSet(given, (copies, Suspect(1, PROBABILITIES, 1, 0.1, (0.1, 0.8, 0.1))), out, "ann")


def _take() -> None:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1180, "height": 940})
        page.goto("http://127.0.0.1:8001")
        for image in ("#image", "#gallery img"):
            page.wait_for_function("(name) => document.querySelector(name)?.naturalWidth", arg=image)
        page.screenshot(path=OUT / "review.jpg", full_page=True, type="jpeg", quality=88)
        browser.close()


if __name__ == "__main__":
    main()
