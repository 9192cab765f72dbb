from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threeages.data.importing import crops
from threeages.data.importing.crops import crop_faces
from threeages.data.importing.rows import BOX
from threeages.data.synthetic import draw_face
from threeages.errors import DataError
from threeages.faces.images import load_image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "a.jpg", "sub/b.jpg"):
        Image.fromarray(draw_face(30, 1, np.random.default_rng(0), 96)).save(folder / name)
    return folder


ROWS = [
    {"path": "a.png", BOX: "0 0 50 60", "age": "20"},
    {"path": "a.jpg", BOX: "10 10 60 60", "age": "30"},
    {"path": "sub/b.jpg", BOX: "-20 -20 40 40", "age": "40"},
    {"path": "sub/b.jpg", BOX: "0 0 15 60", "age": "50"},
    {"path": "gone.jpg", BOX: "0 0 50 50", "age": "60"},
]


@pytest.mark.parametrize("parallel_from", [1, 100])
def test_faces_are_written_and_faults_counted(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel_from: int
) -> None:
    monkeypatch.setattr(crops, "_PARALLEL_FROM", parallel_from)
    monkeypatch.setattr(crops, "CHUNK", 2)
    kept, failed = crop_faces(ROWS, root, tmp_path / "faces", workers=2)
    assert kept == [
        {"path": "a-0.jpg", "age": "20"},
        {"path": "a-1.jpg", "age": "30"},  # of another photo with the same name
        {"path": "sub/b-0.jpg", "age": "40"},
    ]
    assert failed == {"bad_box": 1, "unreadable": 1}
    sizes = {row["path"]: load_image(tmp_path / "faces" / row["path"]).shape[:2] for row in kept}
    assert sizes == {"a-0.jpg": (66, 56), "a-1.jpg": (60, 60), "sub/b-0.jpg": (44, 44)}
    assert sorted(path.name for path in (tmp_path / "faces").rglob("*.*")) == [
        "a-0.jpg",
        "a-1.jpg",
        "b-0.jpg",
    ]


def test_a_folder_that_cannot_be_written_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="file"):
        crop_faces(ROWS[:1], root, tmp_path / "file" / "faces")
