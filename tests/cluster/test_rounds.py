import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from threeages.cluster import rounds
from threeages.cluster.rounds import RoundReader
from threeages.inference.sources import Source


def _sources(number: int) -> Iterator[Source]:
    return (Source(f"{i}", bytes([i % 256]) * 100) for i in range(number))


def _names(reader: RoundReader) -> list[list[str]]:
    return [[image.name for image in found] for found in reader.rounds()]


@pytest.mark.parametrize(("limit", "value"), [("ROUND_IMAGES", 7), ("ROUND_BYTES", 700)])
def test_rounds_are_bounded_and_complete(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(rounds, limit, value)
    found = _names(RoundReader(_sources(20)))
    assert [len(names) for names in found] == [7, 7, 6]
    assert [name for names in found for name in names] == [str(i) for i in range(20)]


def test_a_round_does_not_wait_for_a_slow_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PATIENCE", 0.05)
    release = False

    def slow() -> Iterator[Source]:
        yield from _sources(3)
        while not release:
            time.sleep(0.01)
        yield Source("last", b"")

    reader = RoundReader(slow())
    found = reader.rounds()
    assert [image.name for image in next(found)] == ["0", "1", "2"]
    release = True
    assert [[image.name for image in images] for images in found] == [["last"]]


def test_an_error_of_the_sources_comes_after_what_was_listed() -> None:
    def failing() -> Iterator[Source]:
        yield from _sources(2)
        raise RuntimeError("the listing")

    found = RoundReader(failing()).rounds()
    assert len(next(found)) == 2
    with pytest.raises(RuntimeError, match="the listing"):
        next(found)


def test_paths_are_valid_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ((image,),) = RoundReader([Source("a.jpg", Path("a.jpg"))]).rounds()
    assert pickle.loads(image.pickled) == Source("a.jpg", tmp_path / "a.jpg")


def test_a_reader_that_is_stopped_reads_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "ROUND_IMAGES", 5)
    taken: list[int] = []

    def endless() -> Iterator[Source]:
        while True:
            taken.append(len(taken))
            yield Source(str(len(taken)), b"")

    reader = RoundReader(endless())
    next(reader.rounds())
    reader.stop()
    reader._thread.join(10)
    assert not reader._thread.is_alive()
    assert len(taken) <= 12
