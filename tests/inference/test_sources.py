"""Every kind of input in Python, to the predictor and to its parts."""

import copy
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from threeages.demo import find_portraits
from threeages.faces.images import Pixels, load_image
from threeages.inference.annotate import draw_faces
from threeages.inference.predictor import Predictor, load_predictor
from threeages.inference.records import Record
from threeages.inference.sources import open_sources
from threeages.inference.video import NO_TRACK, Frame, Tracker, summarize_tracks


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor()


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait as PNG, so that pixels and file are the same."""
    path = tmp_path_factory.mktemp("portrait") / "face.png"
    Image.fromarray(load_image(find_portraits()[0])).save(path)
    return path


@pytest.fixture(scope="module")
def pixels(portrait: Path) -> Pixels:
    return load_image(portrait)


@pytest.fixture(scope="module")
def expected(predictor: Predictor, portrait: Path) -> Record:
    (record,) = predictor.predict(portrait)
    assert record.status == "ok"
    assert record.path == str(portrait)
    return record


class Entry:
    """A path that is neither str nor Path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


def _zipped(data: bytes) -> Any:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.png", data)
    return zipfile.ZipFile(archive).open("a.png")


KINDS: dict[str, Any] = {
    "Path": lambda path: path,
    "str": str,
    "numpy str": lambda path: np.str_(path),
    "PathLike": Entry,
    "DirEntry": lambda path: next(e for e in list(os.scandir(path.parent)) if e.name == path.name),
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "reader": lambda path: io.BufferedReader(io.BytesIO(path.read_bytes())),
    "BytesIO at its end": lambda path: (file := io.BytesIO(path.read_bytes()), file.seek(0, 2))[0],
    "file in a zip": lambda path: _zipped(path.read_bytes()),
    "opened image": Image.open,
    "image": lambda path: Image.fromarray(load_image(path)),
    "RGBA image": lambda path: Image.open(path).convert("RGBA"),
    "array": load_image,
    "batch of one": lambda path: load_image(path)[None],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_answer_alone_and_in_a_list(
    predictor: Predictor, portrait: Path, expected: Record, kind: str
) -> None:
    for images in (KINDS[kind](portrait), [KINDS[kind](portrait)], iter([KINDS[kind](portrait)])):
        (record,) = predictor.predict(images)
        assert record == replace(expected, path=record.path)
        assert record.path in {str(portrait), "image-0", "a.png"}
    *_, together = predictor.predict_together(KINDS[kind](portrait))
    assert (together.path, together.probs) == ("together", expected.probs)


@pytest.mark.parametrize("number", [0, 2])
def test_many_at_once_keep_their_names_and_order(
    predictor: Predictor, portrait: Path, expected: Record, number: int
) -> None:
    def yield_open_files() -> Iterator[Any]:
        for _ in range(number + 1):
            with portrait.open("rb") as file:  # closed when the next one is taken
                yield file
        with Image.open(portrait) as image:
            yield image

    records = list(predictor.predict(yield_open_files()))
    assert records == [expected] * (number + 2)
    file = io.BytesIO(portrait.read_bytes())
    records = list(predictor.predict([file, b"", file]))
    assert [(r.path, r.status) for r in records] == [
        ("image-0", "ok"),
        ("image-1", "empty"),
        ("image-2", "ok"),
    ]


def test_several_images_in_an_array(predictor: Predictor, pixels: Pixels, portrait: Path) -> None:
    assert [r.path for r in predictor.predict(np.stack([pixels, pixels]))] == ["image-0", "image-1"]
    for column in (np.array([str(portrait)] * 2), np.array([portrait] * 2, dtype=object)):
        assert [r.status for r in predictor.predict(column)] == ["ok", "ok"]


@pytest.mark.parametrize(
    "wrong", [None, 5, 1.5, {"a": 1}, object(), [None], [["a.jpg"]], (3,), [{"path": "a.jpg"}], len]
)
def test_what_is_no_image_is_a_type_error_at_the_call(predictor: Predictor, wrong: Any) -> None:
    for call in (predictor.predict, predictor.predict_together):
        with pytest.raises(TypeError, match=r"An image cannot be a \w+\. Allowed: a path .*binary mode"):
            call(wrong)
    with pytest.raises(TypeError, match="cannot be a NoneType"):
        list(predictor.predict(iter([None])))
    with pytest.raises(TypeError, match="cannot be a int"):
        predictor.preparer.prepare("x", 5)  # type: ignore[arg-type]


def test_files_that_cannot_be_used(predictor: Predictor, portrait: Path, tmp_path: Path) -> None:
    class Awaited:
        async def read(self) -> bytes:
            return b""

    class Words:
        def read(self) -> str:
            return ""

    (tmp_path / "a.txt").write_text("a")
    with (tmp_path / "a.txt").open() as text, pytest.raises(TypeError, match="binary mode"):
        predictor.predict(text)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="binary mode"):
        predictor.predict([io.StringIO()])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="await"):
        predictor.predict(Awaited())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="gives str, not bytes"):
        list(predictor.predict(Words()))  # type: ignore[arg-type]
    closed = portrait.open("rb")
    closed.close()
    image = Image.open(portrait)
    image.close()
    with (tmp_path / "out").open("wb") as writable:
        records = list(predictor.predict([closed, portrait, image, writable]))
    assert [r.status for r in records] == ["missing", "ok", "corrupt", "missing"]
    assert all(r.message for r in records if r.failed)


def test_a_damaged_image_of_pillow_has_its_status(predictor: Predictor, portrait: Path) -> None:
    half = Image.open(io.BytesIO(portrait.read_bytes()[:3000]))
    (record,) = predictor.predict(half)
    assert record.status == "truncated"
    (record,) = predictor.predict(Image.new("RGB", (2, 300)))
    assert record.status == "too_small"
    (record,) = predictor.predict([np.zeros((2, 2, 3), np.uint8)])
    assert record.status == "too_small"
    with Image.open(portrait) as wide:
        wide._size = (40_000, 40_000)  # what the header of a hostile file says
        (record,) = predictor.predict(wide)
        assert record.status == "too_large"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_orientation_of_pillow_images_is_applied_and_they_stay_as_they_are(
    predictor: Predictor, pixels: Pixels, expected: Record, orientation: int
) -> None:
    turned = Image.fromarray(np.rot90(pixels, {1: 0, 3: 2, 6: 1, 8: 3}[orientation]))
    turned.getexif()[0x0112] = orientation
    before = turned.size
    (record,) = predictor.predict(turned)
    assert record == replace(expected, path="image-0")
    assert turned.size == before
    assert turned.getexif()[0x0112] == orientation


def test_a_bad_array_loses_no_other_answer(predictor: Predictor, pixels: Pixels, expected: Record) -> None:
    bad = np.where(pixels > 100, np.nan, 1)
    images = [pixels, bad, pixels / 255, pixels.astype(object), np.zeros((0, 0, 3)), pixels[:, :, ::-1]]
    records = list(predictor.predict(images))
    assert [r.status for r in records[:5]] == ["ok", "bad_array", "ok", "bad_array", "bad_array"]
    assert records[2] == replace(expected, path="image-2")
    assert records[1].failed
    assert str(bad.shape) in records[1].message
    assert "float64" in records[1].message
    *_, together = predictor.predict_together([bad, pixels])
    assert (together.status, together.probs) == ("ok", expected.probs)


def test_bgr_is_said_once_and_only_of_arrays(
    predictor: Predictor, pixels: Pixels, portrait: Path, expected: Record
) -> None:
    images = [pixels[:, :, ::-1], portrait, Image.fromarray(pixels)]
    assert [r.probs for r in predictor.predict(images, bgr=True)] == [expected.probs] * 3
    *_, together = predictor.predict_together(images[0], bgr=True)
    assert together.probs == expected.probs
    (tracked,) = Tracker(predictor, bgr=True).update(Frame(0, 0.0, images[0]))
    assert tracked.record.probs == expected.probs


def test_the_tracker_says_which_frame_cannot_be_used(
    predictor: Predictor, pixels: Pixels, expected: Record
) -> None:
    tracker = Tracker(predictor, "live")
    (first,) = tracker.update(Frame(0, 0.0, pixels))
    (bad,) = tracker.update(Frame(1, 0.1, np.zeros((0, 0, 3))))  # type: ignore[arg-type]
    (again,) = tracker.update(Frame(2, 0.2, pixels / 255))  # type: ignore[arg-type]
    assert (bad.track, bad.record.status, bad.record.path) == (NO_TRACK, "bad_array", "live")
    assert (first.track, again.track) == (0, 0)
    assert first.record.probs == expected.probs
    np.testing.assert_array_equal(draw_faces(pixels, [bad.record]), pixels)
    assert [row[3] for row in summarize_tracks([first, bad])[1]] == [first.record.age_group, "bad_array"]


def test_sources_are_found_without_numpy_and_pillow() -> None:
    import subprocess

    code = (
        "import sys; from threeages.inference.sources import open_sources; list(open_sources(['a', b'b']));"
    )
    code += "print(*[m for m in ('numpy', 'PIL', 'cv2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_long_list_is_not_read_ahead(portrait: Path) -> None:
    taken = []

    def files() -> Iterator[Path]:
        for i in range(3):
            taken.append(i)
            yield portrait

    next(open_sources(files()))
    assert taken == [0]


def test_a_predictor_is_pickled_and_copied(predictor: Predictor, portrait: Path, expected: Record) -> None:
    for parts in (
        pickle.loads(pickle.dumps(predictor)),
        copy.deepcopy(predictor),
        copy.copy(predictor),
    ):
        assert list(parts.predict(portrait)) == [expected]
    strict = load_predictor(detect=False, max_error=0.2, coverage=0.9)
    other = pickle.loads(pickle.dumps(strict))
    assert other.classifier.policy == strict.classifier.policy
    assert list(other.predict(portrait)) == list(strict.predict(portrait))
    for part in (predictor.preparer, predictor.classifier, predictor.classifier.model):
        assert type(pickle.loads(pickle.dumps(part))) is type(part)
    assert len(pickle.dumps(predictor)) < 20_000  # the models stay in their files


def test_a_predictor_works_in_spawned_processes(portrait: Path, expected: Record, tmp_path: Path) -> None:
    (tmp_path / "spawn.py").write_text(
        "import json, multiprocessing, sys, threeages\n"
        "def answer(predictor, path):\n"
        "    return [record.to_dict() for record in predictor.predict([path, path])]\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(json.dumps(pool.apply(answer, (threeages.load_predictor(), sys.argv[1]))))\n"
    )
    command = [sys.executable, str(tmp_path / "spawn.py"), str(portrait)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert [Record.from_dict(raw) for raw in json.loads(done.stdout)] == [expected] * 2
