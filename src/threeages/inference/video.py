"""Faces of a video or a camera: tracked from frame to frame, answers smoothed, frames annotated."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from threeages.errors import ConfigError, DataError
from threeages.faces.crop import iou
from threeages.faces.images import Pixels
from threeages.files import atomic_path
from threeages.inference.annotate import draw_faces
from threeages.inference.answer import Box, Pool, face_record
from threeages.inference.classify import Output
from threeages.inference.predictor import Predictor
from threeages.inference.prepare import PreparedFace
from threeages.inference.records import Record

MIN_IOU = 0.3  # overlap from which on a box continues a track
HALF_LIFE = 0.5  # seconds after which an earlier frame has half its weight
MAX_HIDDEN = 1.0  # seconds that a face may be hidden before its track ends
DEFAULT_RATE = 25.0  # frames a second where a source does not say
MAX_RATE = 1000.0
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}  # those that OpenCV's wheel can write everywhere
NO_TRACK = -1


@dataclass(frozen=True)
class Frame:
    """One frame: its number from 0, its time in seconds, and uint8 RGB pixels `(height, width, 3)`.

    A tracker takes other arrays too, as `Predictor.predict` does.
    """

    number: int
    seconds: float
    pixels: Pixels


@dataclass(frozen=True)
class Video:
    """Frames as they come, and their rate in frames a second."""

    frames: Iterator[Frame]
    rate: float


@dataclass(frozen=True)
class TrackedFace:
    """One face of one frame; `track` is the number that the face keeps from frame to frame.

    A frame that cannot be used has no face: its `track` is NO_TRACK, and its record says why.
    """

    track: int
    frame: int
    seconds: float
    record: Record

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: frame, seconds, track, and those of the record."""
        place = {"frame": self.frame, "seconds": round(self.seconds, 3), "track": self.track}
        return place | self.record.to_dict()


@dataclass
class _Track:
    """A face so far: its last box, when it was seen, and the pool of the outputs for it."""

    number: int
    box: Box
    seconds: float
    pool: Pool = field(default_factory=Pool)

    def add(self, face: PreparedFace, output: Output, seconds: float) -> None:
        """Add a frame; the weight of earlier frames halves with every HALF_LIFE."""
        self.pool.fade(0.5 ** ((seconds - self.seconds) / HALF_LIFE))
        self.pool.add(*output, face.rejection)
        self.box, self.seconds = face.box, seconds


class Tracker:
    """Tracks faces by the overlap of their boxes and smooths the answers of each; frames come in order.

    `name` is the path in the records. With `bgr` the frames have the order blue, green, red, as OpenCV's.
    """

    def __init__(self, predictor: Predictor, name: str = "", *, bgr: bool = False) -> None:
        self._predictor = predictor
        self._name = name
        self._bgr = bgr
        self._tracks: list[_Track] = []
        self._started = 0

    def update(self, frame: Frame) -> list[TrackedFace]:
        """The faces of the next frame, the largest first; each answer pools the frames of its track.

        A frame that cannot be used, such as an array of another shape, gives one record with its status.
        """
        image = self._predictor.preparer.prepare(self._name, frame.pixels, bgr=self._bgr)
        failure = Record(image.path, image.status, message=image.message)
        if failure.failed:
            return [TrackedFace(NO_TRACK, frame.number, frame.seconds, failure)]
        outputs = self._predictor.classifier.outputs([image])
        self._tracks = [t for t in self._tracks if frame.seconds - t.seconds <= MAX_HIDDEN]
        tracks = self._match([face.box for face in image.faces], frame.seconds)
        return [self._answer(frame, *found) for found in zip(tracks, image.faces, outputs, strict=True)]

    def _match(self, boxes: Sequence[Box], seconds: float) -> list[_Track]:
        """A track for every box: the pairs of most overlap first, a new track where none overlaps."""
        pairs = sorted(
            (
                (iou(track.box, box), t, b)
                for t, track in enumerate(self._tracks)
                for b, box in enumerate(boxes)
            ),
            reverse=True,
        )
        found: dict[int, _Track] = {}
        taken: set[int] = set()
        for overlap, t, b in pairs:
            if overlap >= MIN_IOU and t not in taken and b not in found:
                found[b] = self._tracks[t]
                taken.add(t)
        return [found[b] if b in found else self._start(box, seconds) for b, box in enumerate(boxes)]

    def _start(self, box: Box, seconds: float) -> _Track:
        track = _Track(self._started, box, seconds)
        self._started += 1
        self._tracks.append(track)
        return track

    def _answer(self, frame: Frame, track: _Track, face: PreparedFace, output: Output) -> TrackedFace:
        track.add(face, output, frame.seconds)
        probs, years = track.pool.mean()
        policy = self._predictor.classifier.policy
        record = face_record(self._name, face.box, probs, years, policy=policy, rejection=face.rejection)
        return TrackedFace(track.number, frame.number, frame.seconds, record)


def open_video(source: str) -> Video:
    """Open a video file, or the camera with the number `source`. Raises DataError where neither opens."""
    if not source.isdecimal() and not Path(source).is_file():
        raise DataError(f"There is no video {source}.", hint="Give a file, or a camera's number such as 0.")
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not capture.isOpened():
        raise DataError(
            f"{source} cannot be read as a video.", hint="Save it as MP4 (H.264), or try camera 0."
        )
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    rate = rate if 1 <= rate <= MAX_RATE else DEFAULT_RATE
    return Video(_read(capture, rate, live=source.isdecimal()), rate)


def track_faces(
    video: Video, predictor: Predictor, *, name: str = "", out: Path | None = None
) -> Iterator[TrackedFace]:
    """Yield the faces of every frame as they come, and write an annotated video to `out` where it is given.

    `name` is the path in the records. Raises ConfigError where OpenCV cannot write a file of that suffix.
    """
    tracker = Tracker(predictor, name)
    with video_writer(out, video.rate) if out else nullcontext() as writer:
        for frame in video.frames:
            faces = tracker.update(frame)
            if writer:
                writer(draw_faces(frame.pixels, [face.record for face in faces]))
            yield from faces


@contextmanager
def video_writer(path: Path, rate: float) -> Iterator[Callable[[Pixels], None]]:
    """Give a function that writes uint8 RGB frames `(height, width, 3)` of one size.

    The file gets its name when the block ends without an exception. Raises ConfigError for a suffix outside
    CODECS, DataError where OpenCV cannot write.
    """
    if path.suffix.lower() not in CODECS:
        raise ConfigError(
            f"Cannot write a video {path.name}.", hint=f"Its name ends in {' or '.join(CODECS)}."
        )
    with atomic_path(path) as part:
        draft = part.with_suffix(path.suffix)  # OpenCV chooses the container by the suffix
        writer = cv2.VideoWriter()

        def write(pixels: Pixels) -> None:
            if not writer.isOpened():
                code = cv2.VideoWriter.fourcc(*CODECS[path.suffix.lower()])
                if not writer.open(str(draft), code, rate, (pixels.shape[1], pixels.shape[0])):
                    raise DataError(f"OpenCV cannot write {path}.", hint="Try a name that ends in .avi.")
            writer.write(np.ascontiguousarray(pixels[:, :, ::-1]))

        try:
            yield write
            writer.release()
            if draft.exists():
                draft.replace(part)
        finally:
            writer.release()
            draft.unlink(missing_ok=True)


def _read(capture: "cv2.VideoCapture", rate: float, *, live: bool) -> Iterator[Frame]:
    start = time.monotonic()
    number = 0
    try:
        while True:
            more, bgr = capture.read()
            if not more:
                return
            seconds = time.monotonic() - start if live else number / rate
            yield Frame(number, seconds, np.ascontiguousarray(bgr[:, :, ::-1]))
            number += 1
    finally:
        capture.release()


def summarize_tracks(faces: Iterable[TrackedFace]) -> list[list[str]]:
    """One row a track: number, first and last second, frames, last age group or status, its confidence."""
    first: dict[int, TrackedFace] = {}
    last: dict[int, TrackedFace] = {}
    counts: Counter[int] = Counter()
    for face in faces:
        first.setdefault(face.track, face)
        last[face.track] = face
        counts[face.track] += 1
    return [
        [
            str(track),
            f"{first[track].seconds:.1f}-{face.seconds:.1f}",
            str(counts[track]),
            face.record.age_group or face.record.status,
            "" if face.record.confidence is None else f"{face.record.confidence:.2f}",
        ]
        for track, face in last.items()
    ]
