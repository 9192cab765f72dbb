"""Shared data: drawn faces, damaged and odd images, the research set where it is given."""

import hashlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from threeages.data.synthetic import draw_face, write_face_set
from threeages.inference.named import LargeModel
from threeages.signature import Signature

BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


def pytest_configure() -> None:
    """A shell's background job ignores SIGINT, and what a test starts would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=BROWSER_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def faces_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_face_set(tmp_path_factory.mktemp("set") / "faces", identities=24, per_identity=5)


@pytest.fixture(scope="session")
def faces_dir(faces_csv: Path) -> Path:
    return faces_csv.parent


@pytest.fixture(scope="session")
def encoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny image encoder with random weights, as CLIP's is published."""
    import torch
    from safetensors.torch import save_file

    from threeages.models.classifier import create_classifier

    path = tmp_path_factory.mktemp("encoder") / "model.safetensors"
    with tiny_vit() as signature:
        torch.manual_seed(0)
        net = create_classifier(signature).net
    own = {key: torch.randn_like(value) / 3 for key, value in net.features.state_dict().items()}
    text = {"text_model.final_layer_norm.bias": torch.zeros(4)}  # the original holds another encoder too
    save_file(text | {_publish(key): value.half().contiguous() for key, value in own.items()}, path)
    return path


@pytest.fixture(scope="session")
def large_asset(encoder_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's part of a large model, for the tiny encoder."""
    import large
    import torch

    from threeages.models.classifier import create_classifier
    from threeages.models.weights import load_pretrained

    path = tmp_path_factory.mktemp("asset") / "large.npz"
    with tiny_vit() as signature:
        torch.manual_seed(1)
        model = create_classifier(signature).eval()
        torch.nn.init.normal_(model.net.head.weight)  # type: ignore[arg-type]
        load_pretrained(model, str(encoder_file))
        large.write_asset(model, encoder_file, path)
    return path


@contextmanager
def tiny_vit() -> Iterator[Signature]:
    """Vision transformers of the block are tiny; the signature of one."""
    from threeages.models import vit
    from threeages.models.registry import create_signature

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"WIDTH": 16, "HEADS": 2, "BLOCKS": 2, "NUM_FEATURES": 32}.items():
            patch.setattr(vit, name, value)
        yield create_signature("clip_vit_b16", 32, alignment=0.85)


def _publish(key: str) -> str:
    """The published name of a tensor of the encoder: the inverse of models.vit.rename_clip."""
    known = {
        "class_embedding": "embeddings.class_embedding",
        "patch_embedding.weight": "embeddings.patch_embedding.weight",
        "position_embedding": "embeddings.position_embedding.weight",
        "norm.weight": "pre_layrnorm.weight",
        "norm.bias": "pre_layrnorm.bias",
    }
    index, _, rest = key.partition(".")
    if index == "0":
        return f"vision_model.{known[rest]}"
    part = "self_attn." if "_proj" in rest else "mlp." if rest.startswith("fc") else ""
    return f"vision_model.encoder.layers.{int(index) - 1}.{part}{rest}"


@pytest.fixture
def large_model(
    large_asset: Path, encoder_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> LargeModel:
    """The tiny large model in place of the package's, not fetched yet."""
    sha256 = hashlib.sha256(encoder_file.read_bytes()).hexdigest()
    found = LargeModel(large_asset, tmp_path / "models", {sha256: "the tiny one"})
    monkeypatch.setattr("threeages.inference.named.LARGE_MODEL", found)
    return found


@pytest.fixture(scope="session")
def data_root() -> Path:
    root = Path(os.environ.get("THREEAGES_DATA", "../shared/data"))
    if not (root / "faces-age-detection" / "train.csv").exists():
        pytest.skip(f"the research data set is not at {root}; set THREEAGES_DATA")
    return root


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[float], Path]]:
    """A function that mounts a disk of so many megabytes, in memory, and returns its folder."""
    mounted: list[Path] = []

    def mount(megabytes: float) -> Path:
        place = tmp_path / f"disk-{len(mounted)}"
        place.mkdir()
        size = f"size={int(megabytes * 1024)}k"
        command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)]
        if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a small disk can only be mounted by root on Linux")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="session")
def bad_images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files that cannot be read, by the status each must give."""
    folder = tmp_path_factory.mktemp("bad")
    good = folder / "good.jpg"
    Image.fromarray(draw_face(30, 1, np.random.default_rng(0))).save(good)
    files = {
        name: folder / f"{name}.jpg"
        for name in ("empty", "not_an_image", "truncated", "corrupt", "too_small", "too_large")
    }
    files["empty"].write_bytes(b"")
    files["not_an_image"].write_text("this is a text file")
    files["truncated"].write_bytes(good.read_bytes()[:900])
    Image.open(good).save(good.with_suffix(".png"))
    data = good.with_suffix(".png").read_bytes()
    files["corrupt"].write_bytes(data[:300] + bytes(range(256)) + data[556:])
    Image.new("RGB", (1, 1)).save(files["too_small"])
    files["too_large"].write_bytes(_png_header(40_000, 40_000))
    return files | {"missing": folder / "none.jpg"}


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )
