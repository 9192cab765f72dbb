"""Shared data: drawn faces, damaged and odd images, the research set where it is given."""

import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threeages.data.synthetic import draw_face, write_face_set


def pytest_configure() -> None:
    """A shell's background job ignores SIGINT, and what a test starts would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def faces_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_face_set(tmp_path_factory.mktemp("set") / "faces", identities=24, per_identity=5)


@pytest.fixture(scope="session")
def faces_dir(faces_csv: Path) -> Path:
    return faces_csv.parent


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
