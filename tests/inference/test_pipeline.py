"""Sources that are slow, endless, large or broken."""

import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from threeages.demo import find_portraits
from threeages.faces.images import Pixels, load_image
from threeages.inference import pipeline
from threeages.inference.classify import BATCH, Output
from threeages.inference.pipeline import held_bytes, run_batches
from threeages.inference.predictor import load_predictor
from threeages.inference.prepare import PreparedFace, PreparedImage
from threeages.inference.sources import ImageSource

OUTPUT: Output = (np.full(3, 1 / 3, dtype=np.float32), None)
CROP = np.zeros((8, 8, 3), dtype=np.uint8)


def prepare(image: object) -> PreparedImage:
    """One face in every image; a text is the name of an image."""
    return PreparedImage(str(image)[:9], (PreparedFace((0, 0, 8, 8), CROP),))


def run_model(images: list[PreparedImage]) -> list[Output]:
    return [OUTPUT for image in images for _ in image.faces]


def answered(images: object, prepare: Callable[..., PreparedImage] = prepare) -> Iterator[str]:
    for prepared, outputs in run_batches(images, prepare, run_model):
        assert len(outputs) == sum(len(image.faces) for image in prepared)
        yield from (image.path for image in prepared)


def test_a_slow_source_is_answered_while_it_waits() -> None:
    """The next image comes only after the answer to the one before."""
    answer = threading.Event()

    def images() -> Iterator[bytes]:
        for _ in range(5):
            answer.clear()
            yield b"image"
            assert answer.wait(20)

    for _ in answered(images()):
        answer.set()


def test_a_burst_is_answered_before_the_source_goes_on() -> None:
    count = 3 * BATCH + 5
    seen = []
    everything = threading.Event()

    def images() -> Iterator[str]:
        yield from map(str, range(count))
        assert everything.wait(20)

    for path in answered(images()):
        seen.append(path)
        if len(seen) == count:
            everything.set()
    assert seen == [str(i) for i in range(count)]


def test_an_image_that_takes_long_holds_none_before_it() -> None:
    release = threading.Event()

    def slow(image: object) -> PreparedImage:
        if image == "slow":
            assert release.wait(20)
        return prepare(image)

    found = answered(["a", "slow", "b"], slow)
    assert next(found) == "a"
    release.set()
    assert list(found) == ["slow", "b"]


def test_a_full_list_is_answered_in_whole_batches() -> None:
    sizes = [len(images) for images, _ in run_batches([f"{i}" for i in range(500)], prepare, run_model)]
    assert sum(sizes) == 500
    assert max(sizes) <= BATCH


@pytest.mark.parametrize("arrays", [False, True])
def test_what_waits_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch, arrays: bool) -> None:
    frame = 300 * 400 * 3
    monkeypatch.setattr(pipeline, "MIN_BYTES", 4 * frame)
    monkeypatch.setattr(pipeline, "BYTES_PER_CORE", 0)
    lock, alive, most = threading.Lock(), 0, 0

    def images() -> Iterator[ImageSource]:
        nonlocal alive, most
        for _ in range(40):
            with lock:
                alive += 1
                most = max(most, alive)
            yield np.zeros((300, 400, 3), dtype=np.uint8) if arrays else bytes(frame)

    def slow(image: object) -> PreparedImage:
        nonlocal alive
        time.sleep(0.005)
        with lock:
            alive -= 1
        return prepare(image)

    assert len(list(answered(images(), slow))) == 40
    assert most <= 5  # those let in, and one that waits to be


def test_crops_count_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo of a crowd holds little before it is prepared and much afterwards."""
    monkeypatch.setattr(pipeline, "MIN_BYTES", 100 * CROP.nbytes)
    monkeypatch.setattr(pipeline, "BYTES_PER_CORE", 0)
    read = 0

    def images() -> Iterator[str]:
        nonlocal read
        for _ in range(60):
            read += 1
            yield "crowd"

    def crowd(image: object) -> PreparedImage:
        return PreparedImage("crowd", (PreparedFace((0, 0, 8, 8), CROP),) * 100)

    found = run_batches(images(), crowd, run_model)
    next(found)
    time.sleep(0.3)
    assert read < 40  # a few a core, and those that were answered
    assert sum(len(images) for images, _ in found) == 59


def test_an_image_beyond_the_bound_is_let_in_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MIN_BYTES", 10)
    monkeypatch.setattr(pipeline, "BYTES_PER_CORE", 0)
    assert len(list(answered(iter([bytes(1000)] * 9)))) == 9


def test_a_frame_may_be_written_into_the_array_of_the_one_before() -> None:
    first, other = (load_image(path) for path in find_portraits()[:2])
    other = cv2.resize(other, first.shape[1::-1], interpolation=cv2.INTER_AREA)

    def camera() -> Iterator[Pixels]:
        frame = np.empty_like(first)
        for i in range(12):
            frame[:] = other if i % 3 else first
            yield frame

    predictor = load_predictor(detect=False)
    wide, narrow = (next(predictor.predict([image])).probs for image in (first, other))
    assert wide != narrow
    for i, record in enumerate(predictor.predict(camera())):
        assert record.probs == pytest.approx(narrow if i % 3 else wide, abs=1e-4)


def test_an_error_of_the_source_comes_after_the_answers_before_it() -> None:
    def images() -> Iterator[str]:
        yield from "abc"
        raise OSError("unplugged")

    found: list[str] = []
    with pytest.raises(OSError, match="unplugged"):
        found.extend(answered(images()))
    assert found == ["a", "b", "c"]


def test_an_error_of_an_image_comes_after_the_answers_before_it() -> None:
    def fail(image: object) -> PreparedImage:
        if image == "c":
            raise ZeroDivisionError
        return prepare(image)

    found: list[str] = []
    with pytest.raises(ZeroDivisionError):
        found.extend(answered(list("abcde"), fail))
    assert found == ["a", "b"]


def test_a_source_is_closed_when_nobody_takes_the_answers() -> None:
    closed = threading.Event()

    def images() -> Iterator[str]:
        try:
            while True:
                yield "a"
        finally:
            closed.set()

    found = answered(images())
    next(found)
    found.close()
    assert closed.wait(5)
    assert pipeline.READER not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("images", [[], iter([]), ["a"], iter(["a"]), ("a", "b")])
def test_short_sources(images: object) -> None:
    assert list(answered(images)) in ([], ["a"], ["a", "b"])


def test_what_is_no_source_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        next(answered(5))


def test_held_bytes(tmp_path: Path) -> None:
    assert held_bytes(np.zeros((4, 5, 3), dtype=np.uint8)) == 60
    assert held_bytes(b"1234") == held_bytes(io.BytesIO(b"1234")) == held_bytes(memoryview(b"1234")) == 4
    assert held_bytes(tmp_path) == held_bytes(str(tmp_path)) == 0
    assert held_bytes(Image.new("RGB", (10, 20))) == 800


def test_a_camera_is_answered_within_a_batch(tmp_path: Path) -> None:
    """20 frames a second: the first record came after 10 seconds once."""
    pixels = load_image(find_portraits()[0])
    given: list[float] = []

    def camera() -> Iterator[Pixels]:
        for _ in range(20):
            time.sleep(0.05)
            given.append(time.monotonic())
            yield pixels

    late = []
    for i, record in enumerate(load_predictor().predict(camera())):
        assert record.path == f"image-{i}"
        late.append(time.monotonic() - given[i])
    assert len(late) == 20
    assert np.median(late) < 1.5  # on a machine that does other work as well


@pytest.mark.parametrize("kind", ["--jsonl", "--csv"])
def test_a_list_on_stdin_is_answered_line_by_line(kind: str, tmp_path: Path) -> None:
    photo = str(find_portraits()[0])
    command = [sys.executable, "-m", "threeages", "predict", "-", "--no-detect", kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        if kind == "--csv":
            assert process.stdout.readline().startswith("path,")
        for path in (photo, str(tmp_path / "none.jpg"), photo):
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            line = process.stdout.readline()  # would wait for ever
            assert (json.loads(line)["path"] if kind == "--jsonl" else line.split(",")[0]) == path
        process.stdin.write(photo)  # the last line needs no end
        process.stdin.close()
        assert photo in process.stdout.read()
        assert process.wait(60) == 1  # one was missing


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C of another process is a signal elsewhere")
def test_ctrl_c_ends_a_list_on_stdin_that_is_waited_for() -> None:
    command = [sys.executable, "-m", "threeages", "predict", "-", "--no-detect", "--jsonl"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write("none.jpg\n")
        process.stdin.flush()
        assert "missing" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert "Fatal" not in process.stderr.read()
