"""Images to one record a face: decode and detect in threads, answer in batches. Needs no torch."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.errors import ImageError
from threeages.faces.crop import Face, align_crop, crop_box, whole
from threeages.faces.detect import Detector, find_faces
from threeages.faces.images import Pixels, load_reduced
from threeages.faces.quality import find_fault
from threeages.faces.yunet import YuNet
from threeages.inference.answer import Policy, Pool, face_record
from threeages.inference.records import OK, Record
from threeages.inference.runtime import OnnxModel, default_model_path

TOGETHER = "together"  # the path of the record that answers several images of one person
BATCH = 32
LOOK_AHEAD = 128  # images decoded before the model asks: bounds memory whatever the folder's size
# Shorter side of a decoded photo. The detector looks at 640 pixels and sees faces from about 10 there, which
# then have 15 or more; a 12-megapixel JPEG is decoded at half its size, in a third of the time.
DECODED_SIDE = 960


@dataclass(frozen=True)
class Prepared:
    """What was made of one image before the model is asked: the crops of its faces, or why there are none.

    `faults` says of each face why it gets no answer, '' where it may get one; () where none has a fault.
    """

    path: str
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    pixels: tuple[Pixels, ...] = ()
    status: str = OK
    message: str = ""
    faults: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """`faults` with '' for every face where it is ()."""
        return self.faults or ("",) * len(self.boxes)


Output = tuple[NDArray[np.float32], NDArray[np.float32] | None]


class Predictor:
    """Answers images of any number in their order.

    With no detector every image is taken whole, as a face crop that is to be answered whatever its size and
    sharpness. `max_error` is the error rate wished for among the answers, and `coverage` that of the sets of
    age groups: shares that the model was measured for, else ConfigError.
    """

    def __init__(
        self,
        model: OnnxModel,
        detector: Detector | None,
        *,
        max_error: float | None = None,
        coverage: float | None = None,
    ) -> None:
        self.model = model
        self.detector = detector
        self.policy = Policy.create(model.signature, max_error, coverage)

    def predict(self, images: Iterable[Path | bytes | Pixels]) -> Iterator[Record]:
        """One record a face, or one that says why there is none; a bad image loses no other's answer.

        The same threads decode and ask the model, so that no core waits for the other's part. A lone image
        needs none, which saves 1.4 ms of 10.
        """
        for items, outputs in self._ask(images):
            yield from self._records(items, outputs)

    def predict_together(self, images: Iterable[Path | bytes | Pixels]) -> Iterator[Record]:
        """As `predict`, of images of one person; a last record answers the largest face of each together.

        Its path is TOGETHER, and it has no box. Two film faces are answered right for 0.745 together, one
        for 0.709 (results/photos.csv). Without any face its status is `no_face`.
        """
        pool, faults = Pool(), []
        for items, outputs in self._ask(images):
            yield from self._records(items, outputs)
            left = iter(outputs)
            for item in items:
                found = list(islice(left, len(item.boxes)))
                if found:  # the largest comes first
                    faults.append(item.reasons[0])
                    pool.add(*found[0], faults[-1])
        if not faults:
            yield Record(TOGETHER, "no_face", message="No face was found in any image.")
            return
        yield face_record(
            TOGETHER, None, *pool.mean(), policy=self.policy, fault="" if "" in faults else faults[0]
        )

    def _ask(self, images: Iterable[Path | bytes | Pixels]) -> Iterator[tuple[list[Prepared], list[Output]]]:
        first = list(islice(images := iter(images), 2))
        if len(first) == 1:
            items = [self.prepare(_name(0, first[0]), first[0])]
            yield items, self.outputs(items)
            return
        images = chain(first, images)
        cores = os.cpu_count() or 1
        asked: deque[tuple[list[Prepared], Future[list[Output]]]] = deque()
        with ThreadPoolExecutor(cores) as pool:
            for items in _gather(self._look_ahead(images, pool)):
                asked.append((items, pool.submit(self.outputs, items)))
                if len(asked) > cores:
                    yield _finished(asked)
            while asked:
                yield _finished(asked)

    def _look_ahead(
        self, images: Iterable[Path | bytes | Pixels], pool: ThreadPoolExecutor
    ) -> Iterator[Prepared]:
        queue: deque[Future[Prepared]] = deque()
        for i, image in enumerate(images):
            queue.append(pool.submit(self.prepare, _name(i, image), image))
            if len(queue) >= LOOK_AHEAD:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()

    def prepare(self, path: str, image: Path | bytes | Pixels) -> Prepared:
        """Decode one image and find its faces; may be called from many threads. `path` names its records."""
        try:
            pixels, scale = (
                (image, 1.0) if isinstance(image, np.ndarray) else load_reduced(image, DECODED_SIDE)
            )
        except ImageError as error:
            return Prepared(path, status=error.status, message=f"{error.message} {error.hint}".strip())
        faces = [whole(pixels)] if self.detector is None else find_faces(pixels, self.detector)
        if not faces:
            return Prepared(
                path, status="no_face", message="No face was found; --no-detect takes the image whole."
            )
        crops = tuple(self._crop(pixels, face) for face in faces)
        faults = (
            ()
            if self.detector is None
            else tuple(find_fault(f, crop_box(pixels, f, 0), scale) for f in faces)
        )
        return Prepared(path, tuple(_rounded(face, scale) for face in faces), crops, faults=faults)

    def _crop(self, pixels: Pixels, face: Face) -> Pixels:
        signature = self.model.signature
        return align_crop(
            pixels, face, signature.input_size, margin=signature.margin, alignment=signature.alignment
        )

    def outputs(self, items: Sequence[Prepared]) -> list[Output]:
        """What the model says of every face, in order: probs `(3,)`, and years `(101,)` or None."""
        batch = [pixels for item in items for pixels in item.pixels]
        found: list[Output] = []
        for i in range(0, len(batch), BATCH):
            probs, years = self.model.predict_all(np.stack(batch[i : i + BATCH]))
            found += zip(probs, years if years is not None else [None] * len(probs), strict=True)
        return found

    def answer(self, items: Sequence[Prepared]) -> Iterator[Record]:
        """Records of prepared images, in their order; the model is asked in batches."""
        return self._records(items, self.outputs(items))

    def _records(self, items: Sequence[Prepared], outputs: Sequence[Output]) -> Iterator[Record]:
        left = iter(outputs)
        for item in items:
            if item.status != OK:
                yield Record(item.path, item.status, message=item.message)
            for box, fault in zip(item.boxes, item.reasons, strict=True):
                yield face_record(item.path, box, *next(left), policy=self.policy, fault=fault)


def _name(i: int, image: Path | bytes | Pixels) -> str:
    return str(image) if isinstance(image, Path) else f"image-{i}"


def _gather(prepared: Iterable[Prepared]) -> Iterator[list[Prepared]]:
    """Lists of images with a batch of faces, or with fewer where many images have none."""
    waiting: list[Prepared] = []
    for item in prepared:
        waiting.append(item)
        if sum(len(w.pixels) for w in waiting) >= BATCH or len(waiting) >= LOOK_AHEAD:
            yield waiting
            waiting = []
    yield waiting


def _finished(
    asked: deque[tuple[list[Prepared], Future[list[Output]]]],
) -> tuple[list[Prepared], list[Output]]:
    items, outputs = asked.popleft()
    return items, outputs.result()


def load_predictor(
    model: Path | str = "default",
    *,
    detect: bool = True,
    max_error: float | None = None,
    coverage: float | None = None,
) -> Predictor:
    """A predictor in one call: `model` is 'default' or an ONNX file; `detect=False` takes images whole.

    >>> for record in load_predictor().predict([Path("photo.jpg")]):
    ...     print(record.age_group, record.confidence)
    """
    path = default_model_path() if model == "default" else Path(model)
    detector = YuNet() if detect else None
    # one thread a batch, as many batches as cores: on 2 cores 4 % more crops a second than two threads
    return Predictor(OnnxModel(path, threads=1), detector, max_error=max_error, coverage=coverage)


def _rounded(face: Face, scale: float) -> tuple[int, int, int, int]:
    """The box in pixels of the photo, of which `scale` go to one that was decoded."""
    x1, y1, x2, y2 = (round(v * scale) for v in face.box)
    return x1, y1, x2, y2
