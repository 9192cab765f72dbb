"""Faces of a video or a camera: tracked from frame to frame, answers smoothed, frames annotated."""

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
from threeages.files.atomic import atomic_path
from threeages.files.disk import full_disk_error, is_full
from threeages.inference.annotate import draw_faces
from threeages.inference.answer import Box, Pool, face_record
from threeages.inference.capture import DEFAULT_RATE, Frame, Video
from threeages.inference.classify import Output
from threeages.inference.predictor import Predictor
from threeages.inference.prepare import PreparedFace
from threeages.inference.records import Record

MIN_IOU = 0.3  # overlap from which on a box continues a track
HALF_LIFE = 0.5  # seconds after which an earlier frame has half its weight
MAX_HIDDEN = 1.0  # seconds that a face may be hidden before its track ends
MAX_STILL = 60.0  # seconds for which an annotated video shows the same frame
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}  # those that OpenCV's wheel can write everywhere
NO_TRACK = -1
TRACK_COLUMNS = ("track", "seconds", "frames", "age group", "confidence")


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

    `name` is the path in the records. A track ends when its face was hidden for MAX_HIDDEN, or for two frames
    at `rate` frames a second where that is longer. With `bgr` the frames have the order blue, green, red, as
    OpenCV's.
    """

    def __init__(
        self, predictor: Predictor, name: str = "", *, rate: float = DEFAULT_RATE, bgr: bool = False
    ) -> None:
        self._predictor = predictor
        self._name = name
        self._max_hidden = max(MAX_HIDDEN, 2 / rate)
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
        self._tracks = [t for t in self._tracks if frame.seconds - t.seconds <= self._max_hidden]
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


def track_faces(
    video: Video, predictor: Predictor, *, name: str = "", out: Path | None = None
) -> Iterator[TrackedFace]:
    """Yield the faces of every frame as they come, and write an annotated video to `out` where it is given.

    `name` is the path in the records. The annotated video has `video.rate` throughout: a frame is repeated or
    passed over where the frames come at another rate, so that its time is that of the source. Raises
    ConfigError where OpenCV cannot write a file of that suffix.
    """
    tracker = Tracker(predictor, name, rate=video.rate)
    pace = _Pace(video.rate)
    with video_writer(out, video.rate) if out else nullcontext() as writer:
        for frame in video.frames:
            faces = tracker.update(frame)
            if writer:
                annotated = draw_faces(frame.pixels, [face.record for face in faces])
                for _ in range(pace.count(frame.seconds)):
                    writer(annotated)
            yield from faces


class _Pace:
    """How often a frame is written into a video of a constant rate, so that it is there at its time."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._start: float | None = None
        self._written = 0

    def count(self, seconds: float) -> int:
        """Copies of the frame with this time: the places up to it, of which the last is its own."""
        self._start = seconds if self._start is None else self._start
        due = round((seconds - self._start) * self._rate) + 1
        copies = min(max(0, due - self._written), max(1, round(MAX_STILL * self._rate)))
        self._written = max(due, self._written)
        return copies


@contextmanager
def video_writer(path: Path, rate: float) -> Iterator[Callable[[Pixels], None]]:
    """Give a function that writes uint8 RGB frames `(height, width, 3)`, in the size of the first.

    The file gets its name when the block ends without an exception. Raises ConfigError for a suffix outside
    CODECS, DataError where OpenCV cannot write.
    """
    if path.suffix.lower() not in CODECS:
        raise ConfigError(
            f"Cannot write a video {path.name}.", hint=f"Its name ends in {' or '.join(CODECS)}."
        )
    with atomic_path(path, suffix=path.suffix) as part:  # OpenCV chooses the container by the suffix
        writer = cv2.VideoWriter()
        size, written = (0, 0), 0

        def write(pixels: Pixels) -> None:
            nonlocal size, written
            if not writer.isOpened():
                size = (pixels.shape[1], pixels.shape[0])
                code = cv2.VideoWriter.fourcc(*CODECS[path.suffix.lower()])
                if not writer.open(str(part), code, rate, size):
                    raise _not_written(path, part)
            if pixels.shape[1::-1] != size:  # OpenCV would silently write nothing
                pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            writer.write(np.ascontiguousarray(pixels[:, :, ::-1]))
            written += 1
            if is_full(part):  # of which OpenCV says nothing
                raise full_disk_error(path)

        try:
            yield write
        finally:
            writer.release()
        if written and _count_frames(part) < written:
            raise _not_written(path, part)


def _not_written(path: Path, part: Path) -> DataError:
    if is_full(part):
        return full_disk_error(path)
    return DataError(f"OpenCV cannot write {path}.", hint="Try a name that ends in .avi, on another disk.")


def _count_frames(path: Path) -> int:
    """The frames that the index of a video names; OpenCV writes it last, and only where it could."""
    reader = cv2.VideoCapture(str(path))
    try:
        return int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        reader.release()


def summarize_tracks(faces: Iterable[TrackedFace]) -> tuple[list[str], list[list[str]]]:
    """Header and a row a track: number, first and last second, frames, last age group or status, confidence.

    Where brackets of ages were asked for a column each holds the last probability of it.
    """
    first: dict[int, TrackedFace] = {}
    last: dict[int, TrackedFace] = {}
    counts: Counter[int] = Counter()
    for face in faces:
        first.setdefault(face.track, face)
        last[face.track] = face
        counts[face.track] += 1
    names = list(dict.fromkeys(name for face in last.values() for name in face.record.brackets or ()))
    rows = [
        [
            str(track),
            f"{first[track].seconds:.1f}-{face.seconds:.1f}",
            str(counts[track]),
            face.record.age_group or face.record.status,
            "" if face.record.confidence is None else f"{face.record.confidence:.2f}",
            *(f"{face.record.brackets[name]:.2f}" if face.record.brackets else "" for name in names),
        ]
        for track, face in last.items()
    ]
    return [*TRACK_COLUMNS, *names], rows
