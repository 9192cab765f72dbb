"""Frames of a recording, a camera or a network stream, with their times; live sources are reconnected."""

import logging
import math
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np

from threeages.errors import DataError, describe_cause
from threeages.faces.images import Pixels
from threeages.inference.container import is_cut_off, lacks_index
from threeages.inference.live import LiveReader, TimedPixels

logger = logging.getLogger(__name__)

DEFAULT_RATE = 25.0  # frames a second where a source does not say
MAX_RATE = 1000.0
# schemes of addresses
STREAMS = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "rtp", "srt")
RECONNECTS = 5  # in a row, after 1, 2, 4, 8 and 16 seconds
STEADY = 60.0  # seconds of frames after which a lost source may be reconnected as often as at first
TIMEOUT = 10_000  # milliseconds that a stream may take to open, or to send its next frame
POLL = 0.05  # seconds between two looks at whether to stop waiting
EARLY_SHARE = 0.02  # of a recording's length that may be missing: lengths are rounded and estimated
EARLY_FRAMES = 3.0
HINT = "Give a file, an address such as rtsp://HOST/PATH, a device such as /dev/video0, or a camera's number."


@dataclass(frozen=True)
class Frame:
    """One frame: its number from 0, its time in seconds, and uint8 RGB pixels `(height, width, 3)`.

    A tracker takes other arrays too, as `Predictor.predict` does.
    """

    number: int
    seconds: float
    pixels: Pixels


@dataclass
class Video:
    """Frames as they come, and their average rate in frames a second.

    `read` counts the frames given so far. `problem` says, once they have ended, why they ended too early: the
    recording is cut off, or a live source was lost for good. It is empty where they did not.
    """

    frames: Iterator[Frame]
    rate: float
    read: int = 0
    problem: str = ""


def open_video(
    source: str,
    *,
    seconds: float = math.inf,
    reconnects: int = RECONNECTS,
    stopped: Callable[[], bool] = lambda: False,
) -> Video:
    """Open a recording, a camera or a network stream, and read its first frame.

    The time of a frame of a recording is its timestamp in the file; that of a live source is the time since
    it was opened. A live source that is lost is opened again after 1 second, then 2, 4 and so on.

    Args:
        source: A file, an address with a scheme of STREAMS, a device such as `/dev/video0`, or the number of
            a camera.
        seconds: Time after which the frames end.
        reconnects: Tries in a row to open a lost live source again.
        stopped: The frames end as soon as it gives True.

    Raises:
        DataError: There is no such source, it is no video or it holds no frames.
    """
    reader = _Reader(source, seconds, reconnects, stopped)
    video = Video(iter(()), reader.rate)
    video.frames = reader.frames(video)
    return video


def hide_password(source: str) -> str:
    """The source without the password that an address may carry, for records and messages."""
    return re.sub(r"(?<=://)([^/@\s]*?):[^/\s]*@", r"\1:***@", source)


class _Reader:
    """One source; reading the first frame tells a video from what is none."""

    def __init__(self, source: str, seconds: float, reconnects: int, stopped: Callable[[], bool]) -> None:
        self._source, self._name = source, hide_password(source)
        self._seconds, self._reconnects, self._stopped = seconds, reconnects, stopped
        self._start = time.monotonic()
        self._capture = _open(source)
        if not self._capture.isOpened():
            raise _unreadable(source, self._name)
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if 0 < rate <= MAX_RATE else DEFAULT_RATE
        # a stream that knows its number of frames is a recording that comes over the network
        self._count = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._live = _is_device(source) or (_scheme(source) in STREAMS and not self._count > 0)
        self._first = self._read()
        if self._first is None:
            hint = (
                "Where its server sends no parts of files, download it and give the file."
                if _scheme(source) in STREAMS
                else "A sound recording is no video."
            )
            raise DataError(f"{self._name} holds no video frames.", hint=hint)

    def frames(self, video: Video) -> Iterator[Frame]:
        source = self._live_frames if self._live else self._recorded_frames
        for number, (seconds, pixels) in enumerate(source(video)):
            if self._stopped() or seconds >= self._seconds:
                return
            video.read += 1
            yield Frame(number, seconds, pixels)

    def _read(self) -> TimedPixels | None:
        more, bgr = self._capture.read()
        return (time.monotonic(), np.ascontiguousarray(bgr[:, :, ::-1])) if more else None

    def _recorded_frames(self, video: Video) -> Iterator[TimedPixels]:
        clock, frame, number = _Clock(1 / self.rate), self._first, 0
        seconds = 0.0
        try:
            while frame:
                seconds = clock.update(float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3)
                yield seconds, frame[1]
                number += 1
                frame = self._read()
            video.problem = self._find_missing(number, seconds + clock.step)
        finally:
            self._capture.release()

    def _find_missing(self, number: int, seconds: float) -> str:
        """Says so where both the frames and the time of a recording fall short of what it promises.

        The number of frames is an estimate in some containers, the length includes sound in others, and a
        trimmed clip holds frames that are not shown: a file that its container calls whole is believed.
        """
        if _scheme(self._source) not in STREAMS and is_cut_off(_file(self._source)) is False:
            return ""
        length = self._count / self.rate
        missing = length - seconds
        enough = number >= self._count * (1 - EARLY_SHARE) - 1
        if enough or missing <= max(EARLY_SHARE * length, EARLY_FRAMES / self.rate):
            return ""
        return (
            f"{self._name} ends early: {number:,} of about {self._count:,.0f} frames, {seconds:.1f} of "
            f"{length:.1f} seconds. The file is cut off or damaged; copy or download it again."
        )

    def _live_frames(self, video: Video) -> Iterator[TimedPixels]:
        tries = 0
        while True:
            since = time.monotonic()
            for arrival, pixels in self._connected_frames():
                yield arrival - self._start, pixels
            if self._over():
                return
            tries = 0 if time.monotonic() - since > STEADY else tries
            while not self._first and tries < self._reconnects and not self._over():
                self._wait(2**tries, tries)
                tries += 1
                self._reopen()
            if self._over():
                return
            if not self._first:
                lost = f"{self._name} was lost after {video.read:,} frames"
                video.problem = f"{lost}; it was opened again {tries} times." if tries else f"{lost}."
                return

    def _connected_frames(self) -> Iterator[TimedPixels]:
        """The frames until the source is lost, or until they are to end."""
        assert self._first
        yield self._first
        self._first = None
        reader = LiveReader(self._capture, self._name)
        try:
            while not self._over():
                frame = reader.take(POLL)
                if frame:
                    yield frame
                elif reader.ended:
                    return
        finally:
            reader.stop()

    def _over(self) -> bool:
        return self._stopped() or time.monotonic() - self._start >= self._seconds

    def _wait(self, seconds: float, tries: int) -> None:
        logger.warning(
            "%s gives no more frames; try %d of %d to open it again in %g s.",
            self._name, tries + 1, self._reconnects, seconds,
        )  # fmt: skip
        self._pause(seconds)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._over():
            time.sleep(POLL)

    def _reopen(self) -> None:
        if self._over():
            return
        self._capture = _open(self._source)
        self._first = self._read() if self._capture.isOpened() else None
        if self._first:
            logger.warning("%s gives frames again.", self._name)


class _Clock:
    """Times of the frames of a recording, which never run back.

    A timestamp that is missing is that of the frame before and a `step`; where the timestamps start over, as
    in joined files, it continues from there.
    """

    def __init__(self, step: float) -> None:
        self.step = step
        self._offset = 0.0
        self._last: float | None = None

    def update(self, stamp: float) -> float:
        """The time of the next frame, with its timestamp in seconds."""
        if self._last is None:
            self._last = max(0.0, stamp) if math.isfinite(stamp) else 0.0
        elif not math.isfinite(stamp) or stamp <= 0:
            self._last += self.step
        else:
            if stamp + self._offset < self._last:
                self._offset = self._last + self.step - stamp
            self._last = stamp + self._offset
        return self._last


def _open(source: str) -> "cv2.VideoCapture":
    if source.isdecimal():
        return cv2.VideoCapture(int(source))
    scheme = _scheme(source)
    if scheme in STREAMS:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT]
        return cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
    if scheme not in {"", "file"}:
        raise DataError(f"{scheme}:// is no stream.", hint=f"Allowed: {', '.join(STREAMS)}.")
    path = _file(source)
    _check_file(path, source)
    return cv2.VideoCapture(str(path), cv2.CAP_V4L2) if _is_device(source) else cv2.VideoCapture(str(path))


def _check_file(path: Path, source: str) -> None:
    try:
        exists, folder = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, or with a null character
        raise DataError(f"There is no video {source}: {describe_cause(error)}.", hint=HINT) from error
    if not exists and source.startswith("/dev/"):
        raise DataError(f"There is no device {source}.", hint="On Linux, 'ls /dev/video*' lists cameras.")
    if not exists:
        raise DataError(f"There is no video {source}.", hint=HINT)
    if folder:
        raise DataError(f"{source} is a folder.", hint="'threeages predict' takes folders of images.")
    if path.is_file() and not path.stat().st_size:
        raise DataError(f"{source} has no bytes.", hint="Copy or download it again.")


def _unreadable(source: str, name: str) -> DataError:
    if _scheme(source) in STREAMS:
        return DataError(f"{name} cannot be opened.", hint="Check address, password and network.")
    if _is_device(source):
        return DataError(
            f"There is no camera {name}, or it may not be read.",
            hint="Another program may hold it; on Linux your account needs the group 'video'.",
        )
    if lacks_index(_file(source)):
        return DataError(
            f"{name} ends early: its index is missing, which is written last.",
            hint="The recording or the copy was interrupted; copy it again.",
        )
    return DataError(f"{name} cannot be read as a video.", hint="Save it as MP4 (H.264), or try camera 0.")


def _scheme(source: str) -> str:
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", source)
    return match[1].lower() if match else ""


def _file(source: str) -> Path:
    return Path(unquote(urlsplit(source).path)) if _scheme(source) == "file" else Path(source)


def _is_device(source: str) -> bool:
    if source.isdecimal():
        return True
    try:
        return not _scheme(source) and stat.S_ISCHR(Path(source).stat().st_mode)
    except (OSError, ValueError):
        return False
