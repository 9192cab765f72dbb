import logging
import time

import numpy as np
import pytest

from threeages.inference import live
from threeages.inference.live import LiveReader


class Camera:
    """Gives frames whose value is their number, `step` seconds apart."""

    def __init__(self, count: int, step: float = 0) -> None:
        self.count, self.step, self.number, self.released = count, step, 0, False

    def read(self) -> tuple[bool, object]:
        time.sleep(self.step)
        self.number += 1
        return self.number <= self.count, np.full((10, 10, 3), self.number, dtype=np.uint8)

    def release(self) -> None:
        self.released = True


def take_all(reader: LiveReader) -> list[int]:
    found = []
    while (frame := reader.take(1)) is not None:
        found.append(int(frame[1][0, 0, 0]))
    return found


def test_all_frames_come_where_they_are_taken_in_time() -> None:
    camera = Camera(20, 0.002)
    assert take_all(LiveReader(camera, "0")) == list(range(1, 21))
    assert camera.released


def test_late_frames_are_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "MAX_LAG", 0.1)
    caplog.set_level(logging.WARNING, "threeages")
    reader = LiveReader(Camera(60, 0.01), "camera 0")
    time.sleep(1.5)
    found = take_all(reader)
    assert 1 <= len(found) < 20
    assert found == list(range(61 - len(found), 61))  # the newest
    assert sum("passed over" in record.getMessage() for record in caplog.records) == 1


def test_frames_that_wait_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_BYTES", 5 * 300)
    reader = LiveReader(Camera(50), "0")
    time.sleep(0.3)
    assert take_all(reader) == [46, 47, 48, 49, 50]


def test_a_stopped_reader_releases_its_camera() -> None:
    camera = Camera(10**9, 0.01)
    reader = LiveReader(camera, "0")
    assert reader.take(1) is not None
    reader.stop()
    assert camera.released
