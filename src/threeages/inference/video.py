"""Faces of a video or a camera: followed from frame to frame, their answers smoothed, drawn on request."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.errors import ConfigError, DataError
from threeages.faces.crop import iou
from threeages.faces.images import Pixels
from threeages.files import atomic_path
from threeages.inference.answer import Pool, face_record
from threeages.inference.predictor import Predictor, Prepared
from threeages.inference.records import Record

SAME_FACE = 0.3  # overlap (IoU) from which on a box continues a track
HALF_LIFE = 0.5  # seconds after which what was seen weighs half
PATIENCE = 1.0  # seconds that a face may be hidden before its track ends
DEFAULT_RATE = 25.0  # frames a second where a source does not tell
MAX_RATE = 1000.0
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}  # those that OpenCV's wheel can write everywhere
COLORS = {"YOUNG": (76, 175, 80), "MIDDLE": (33, 150, 243), "OLD": (244, 143, 30), None: (158, 158, 158)}

Boxes = tuple[int, int, int, int]


@dataclass(frozen=True)
class Frame:
    """One frame: uint8 RGB pixels, its number from 0 and its time in seconds."""

    number: int
    seconds: float
    pixels: Pixels


@dataclass(frozen=True)
class Video:
    """Frames as they come, and how many there are a second."""

    frames: Iterator[Frame]
    rate: float


@dataclass(frozen=True)
class TrackedFace:
    """One face of one frame: `track` is the same number as long as the face is followed."""

    track: int
    frame: int
    seconds: float
    record: Record

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: the record's, and track, frame and seconds."""
        place = {"frame": self.frame, "seconds": round(self.seconds, 3), "track": self.track}
        return place | self.record.to_dict()


@dataclass
class _Track:
    """What is known of a face so far."""

    number: int
    box: Boxes
    seconds: float
    pool: Pool = field(default_factory=Pool)

    def add(
        self,
        box: Boxes,
        seconds: float,
        probs: NDArray[np.float32],
        years: NDArray[np.float32] | None,
        fault: str,
    ) -> None:
        """Take in a frame; what was seen before fades with time."""
        self.pool.fade(0.5 ** ((seconds - self.seconds) / HALF_LIFE))
        self.pool.add(probs, years, fault)
        self.box, self.seconds = box, seconds


class Tracker:
    """Follows faces by the overlap of their boxes and smooths what the model says of each."""

    def __init__(self, predictor: Predictor, name: str = "") -> None:
        self._predictor = predictor
        self._name = name
        self._tracks: list[_Track] = []
        self._started = 0

    def update(self, frame: Frame) -> list[TrackedFace]:
        """The faces of the next frame, largest first; an answer is that of the track up to here."""
        prepared = self._predictor.prepare(self._name, frame.pixels)
        self._tracks = [t for t in self._tracks if frame.seconds - t.seconds <= PATIENCE]
        chosen = self._match(prepared.boxes, frame.seconds)
        outputs = self._predictor.outputs([prepared])
        pairs = enumerate(zip(chosen, outputs, strict=True))
        return [self._answer(track, frame, prepared, i, output) for i, (track, output) in pairs]

    def _match(self, boxes: Sequence[Boxes], seconds: float) -> list[_Track]:
        """A track for every box: pairs of best overlap first, a new one where none overlaps."""
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
            if overlap >= SAME_FACE and t not in taken and b not in found:
                found[b] = self._tracks[t]
                taken.add(t)
        return [found[b] if b in found else self._start(box, seconds) for b, box in enumerate(boxes)]

    def _start(self, box: Boxes, seconds: float) -> _Track:
        track = _Track(self._started, box, seconds)
        self._started += 1
        self._tracks.append(track)
        return track

    def _answer(
        self,
        track: _Track,
        frame: Frame,
        prepared: Prepared,
        i: int,
        output: tuple[NDArray[np.float32], NDArray[np.float32] | None],
    ) -> TrackedFace:
        fault = prepared.reasons[i]
        track.add(prepared.boxes[i], frame.seconds, *output, fault)
        probs, years = track.pool.mean()
        record = face_record(
            self._name, prepared.boxes[i], probs, years, policy=self._predictor.policy, fault=fault
        )
        return TrackedFace(track.number, frame.number, frame.seconds, record)


def open_video(source: str) -> Video:
    """A video file, or the camera whose number `source` is. Raises DataError where there is none to read."""
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
    """The faces of every frame, as they come; with `out` an annotated video is there at the end."""
    tracker = Tracker(predictor, name)
    with video_writer(out, video.rate) if out else nullcontext() as writer:
        for frame in video.frames:
            faces = tracker.update(frame)
            if writer:
                writer(draw_faces(frame.pixels, faces))
            yield from faces


@contextmanager
def video_writer(path: Path, rate: float) -> Iterator[Callable[[Pixels], None]]:
    """Yield what takes uint8 RGB frames of one size; the file takes its name when the block ends well."""
    if path.suffix.lower() not in CODECS:
        raise ConfigError(
            f"Cannot write a video {path.name}.", hint=f"Its name ends in {' or '.join(CODECS)}."
        )
    with atomic_path(path) as part:
        draft = part.with_suffix(path.suffix)  # OpenCV knows the kind of file by it
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
    """One row a track: number, from-to in seconds, frames, last answer or reason, its confidence."""
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


def draw_faces(pixels: Pixels, faces: Sequence[TrackedFace]) -> Pixels:
    """A copy of the frame with a box and the answer, or the reason for none, at every face."""
    drawn = pixels.copy()
    scale = max(pixels.shape[:2]) / 640
    thickness = max(1, round(2 * scale))
    for face in faces:
        assert face.record.box
        x1, y1, x2, y2 = face.record.box
        color = COLORS[face.record.age_group]
        cv2.rectangle(drawn, (x1, y1), (x2, y2), color, thickness)
        below = min(y1 + round(16 * scale), pixels.shape[0] - 2)
        place = (x1 + thickness, y1 - 4 if y1 > 20 * scale else below)
        cv2.putText(
            drawn, _caption(face.record), place, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * scale, color, thickness
        )
    return drawn


def _caption(record: Record) -> str:
    if record.age_group is None or record.confidence is None:
        return record.status.replace("_", " ")
    years = "" if record.age is None else f", {record.age:.0f} years"
    return f"{record.age_group} {record.confidence:.0%}{years}"
