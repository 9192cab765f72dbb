"""The frames of a camera or stream, read in a thread: all, or the newest where they come too fast."""

import logging
import time
from collections import deque
from threading import Condition, Thread

import cv2
import numpy as np

from threeages.faces.images import Pixels

logger = logging.getLogger(__name__)

MAX_LAG = 2.0  # seconds that a frame may wait for its answer
MAX_BYTES = 96 * 2**20  # of the frames that wait

TimedPixels = tuple[float, Pixels]  # arrival by the monotonic clock, and uint8 RGB (height, width, 3)


class LiveReader:
    """Reads a capture in a thread, which releases it at the end; `take` gives its frames.

    A frame is passed over where newer ones are there and it has waited for MAX_LAG, or MAX_BYTES wait. `name`
    is the source in the log.
    """

    def __init__(self, capture: "cv2.VideoCapture", name: str) -> None:
        self._capture, self._name = capture, name
        self._frames: deque[TimedPixels] = deque()
        self._news = Condition()
        self._passed_over = 0
        self._stopped = False
        self.ended = False
        # no daemon: Python would end its thread inside OpenCV, which aborts the process
        self._thread = Thread(target=self._read, name="threeages-live")
        self._thread.start()

    def take(self, timeout: float) -> TimedPixels | None:
        """The next frame; None where none comes in `timeout` seconds or, with `ended`, where none is left."""
        with self._news:
            self._news.wait_for(lambda: self._frames or self.ended, timeout)
            return self._frames.popleft() if self._frames else None

    def stop(self) -> None:
        """End the thread with its next frame, or when OpenCV gives up to wait for one."""
        self._stopped = True
        self._thread.join()

    def _read(self) -> None:
        try:
            while not self._stopped:
                more, bgr = self._capture.read()
                if not more:
                    return
                self._add((time.monotonic(), np.ascontiguousarray(bgr[:, :, ::-1])))
        finally:
            self._capture.release()
            with self._news:
                self.ended = True
                self._news.notify()

    def _add(self, frame: TimedPixels) -> None:
        with self._news:
            self._frames.append(frame)
            while len(self._frames) > 1 and self._is_late(frame[0]):
                self._frames.popleft()
                self._passed_over += 1
                if self._passed_over == 1:
                    logger.warning(
                        "%s gives frames faster than they are answered: some are passed over.", self._name
                    )
            self._news.notify()

    def _is_late(self, now: float) -> bool:
        arrival, pixels = self._frames[0]
        return now - arrival > MAX_LAG or pixels.nbytes * len(self._frames) > MAX_BYTES
