import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from threeages.cluster import guarded
from threeages.cluster.answering import AnswerOptions
from threeages.cluster.guarded import GuardedAnswerer
from threeages.data.manifest import load_manifest
from threeages.errors import ImageError, ModelError
from threeages.files.checksums import checksum
from threeages.inference.predictor import load_predictor
from threeages.inference.runtime import default_model_path
from threeages.inference.sources import Deferred, Source

MODEL = default_model_path()


@dataclass(frozen=True)
class Poison(Deferred):
    """An image that ends, or holds up, the process that reads it."""

    number: int
    good: Path | None = None  # read by the second process that tries

    def load(self) -> bytes | ImageError:
        if self.good and (mark := self.good.with_suffix(f".{os.getppid()}")).exists():
            return self.good.read_bytes()
        if self.good:
            mark.touch()
        if self.number:
            os.kill(os.getpid(), self.number)
        time.sleep(60)
        return b""


def _end(_: AnswerOptions) -> None:
    os._exit(3)


@pytest.fixture(scope="module")
def answerer() -> Iterator[GuardedAnswerer]:
    answerer = GuardedAnswerer(AnswerOptions(MODEL, checksum(MODEL), detect=False))
    yield answerer
    answerer.close()


def _sources(faces_csv: Path) -> list[Source]:
    return [Source(str(path), path) for path in load_manifest(faces_csv).files()[:5]]


@pytest.mark.slow
def test_an_image_that_ends_the_process_costs_no_other_its_answer(
    answerer: GuardedAnswerer, faces_csv: Path, bad_images: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "IMAGE_SECONDS", 0.5)
    bad = [Source(str(path), path) for path in bad_images.values()]
    good = [*_sources(faces_csv), *bad]
    poison = [Source("kills.jpg", Poison(signal.SIGKILL)), Source("hangs.jpg", Poison(0))]
    found = answerer.answer([poison[0], *good, poison[1]])
    expected = list(load_predictor(detect=False).predict_by_image(good))
    assert [records[0].path for records in found[1:-1]] == [records[0].path for records in expected]
    assert [records[0].status for records in found[1:-1]] == [records[0].status for records in expected]
    for records, source in zip((found[0], found[-1]), poison, strict=True):
        assert [(r.path, r.status, r.failed) for r in records] == [(source.name, "corrupt", True)]
        assert "ended the process" in records[0].message


def test_a_machine_with_another_model_is_named(answerer: GuardedAnswerer) -> None:
    other = GuardedAnswerer(replace(answerer._options, digest="another"))
    with pytest.raises(ModelError, match="of a worker is another") as raised:
        other.answer([Source("a.jpg", Path("a.jpg"))])
    other.close()
    assert "Every machine" in raised.value.hint


def test_a_process_that_does_not_start_is_no_fault_of_an_image(
    answerer: GuardedAnswerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded.answering, "warm_up", _end)
    other = GuardedAnswerer(answerer._options)
    with pytest.raises(ModelError, match="does not start"):
        other.answer([Source("a.jpg", Path("a.jpg"))])
