"""Small copies of published sets, with drawn faces in the place of photos."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threeages.data.importing.sources import ImportResult, import_source
from threeages.data.synthetic import draw_face

WriteSet = Callable[..., Path]
Load = Callable[..., ImportResult]


@pytest.fixture
def write_set(tmp_path: Path) -> WriteSet:
    """Write texts and drawn images by path into the folder `set`."""

    def write(images: list[str], tables: Mapping[str, str] | None = None, *, size: int = 48) -> Path:
        folder = tmp_path / "set"
        for number, name in enumerate(images):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw_face(30, number, np.random.default_rng(number), size)).save(path)
        for name, text in (tables or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder

    return write


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def read(source: Path, **options: object) -> ImportResult:
        return import_source(str(source), out=tmp_path / "out" / "m.csv", **options)  # type: ignore[arg-type]

    return read
