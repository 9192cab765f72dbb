"""Images to records: prepared in threads, answered in batches. Needs no torch."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

from threeages.faces.detect import Detector
from threeages.faces.opencv import warn_of_two_opencv_packages
from threeages.faces.yunet import YuNet
from threeages.inference.answer import Policy, Pool, face_record
from threeages.inference.classify import BATCH, FaceClassifier, Output
from threeages.inference.prepare import FacePreparer, ImageSource, PreparedImage
from threeages.inference.records import Record
from threeages.inference.runtime import OnnxModel, default_model_path
from threeages.sessions import AUTO

TOGETHER = "together"  # path of the record that answers several images of the same person
LOOK_AHEAD = 128  # images prepared before the model runs: bounds the memory whatever the folder's size

Batch = tuple[list[PreparedImage], list[Output]]


class Predictor:
    """Finds the faces in images and predicts the age group of each.

    `load_predictor` creates one in a call. Threads may share a predictor.

    Args:
        model: The exported model.
        detector: Finds the faces; None takes every image whole, as one face crop that no quality check
            rejects.
        max_error: Target error rate among the answers, such as 0.2: faces of too little confidence are
            rejected as `uncertain`. None answers every face.
        coverage: Target coverage of the prediction sets, such as 0.9: the share of faces whose true age
            group is in `Record.age_set`. None asks for no sets.

    Raises:
        ConfigError: The model was not measured for the target error rate or the target coverage.
    """

    def __init__(
        self,
        model: OnnxModel,
        detector: Detector | None,
        *,
        max_error: float | None = None,
        coverage: float | None = None,
    ) -> None:
        self.preparer = FacePreparer(model.signature, detector)
        self.classifier = FaceClassifier(model, Policy.create(model.signature, max_error, coverage))

    def predict(self, images: Iterable[ImageSource]) -> Iterator[Record]:
        """Yield the records of images, in their order, while later images are still being decoded.

        Args:
            images: Any number of paths, of files' bytes, or of uint8 arrays `(height, width, 3)` with the
                channels in the order red, green, blue (OpenCV reads blue, green, red: reverse its last
                axis).

        Yields:
            One record a face, the largest face of an image first; for an image without a face, or one that
            cannot be read, a single record that says so in `status` and `message`. A bad image raises
            nothing and costs no other image its answer.

        Example:
            >>> predictor = load_predictor()
            >>> for record in predictor.predict([Path("photo.jpg")]):
            ...     print(record.status, record.age_group, record.probs)
        """
        for prepared, outputs in self._run(images):
            yield from self.classifier.records(prepared, outputs)

    def predict_together(self, images: Iterable[ImageSource]) -> Iterator[Record]:
        """Yield the records of images of the same person, then one record for all images together.

        The last record pools the outputs for the largest face of each image (see `Pool`). Its `path` is
        `together` and it has no box; its status is `no_face` where no image shows a face. Several photos
        give a more accurate answer than one: results/photos.csv says by how much.

        Args:
            images: As for `predict`.

        Yields:
            The records of `predict`, and one more.
        """
        pool, rejections = Pool(), []
        for prepared, outputs in self._run(images):
            yield from self.classifier.records(prepared, outputs)
            rest = iter(outputs)
            for image in prepared:
                found = list(islice(rest, len(image.faces)))
                if found:  # the largest comes first
                    rejections.append(image.faces[0].rejection)
                    pool.add(*found[0], rejections[-1])
        if not rejections:
            yield Record(TOGETHER, "no_face", message="No face was found in any image.")
            return
        rejection = "" if "" in rejections else rejections[0]
        yield face_record(TOGETHER, None, *pool.mean(), policy=self.classifier.policy, rejection=rejection)

    def _run(self, images: Iterable[ImageSource]) -> Iterator[Batch]:
        """Prepared images with the outputs for their faces; a lone image is not worth starting threads."""
        rest = iter(images)
        first = list(islice(rest, 2))
        if len(first) == 2:
            yield from self._run_in_threads(chain(first, rest))
        else:
            prepared = [self.preparer.prepare(_name(i, image), image) for i, image in enumerate(first)]
            yield prepared, self.classifier.outputs(prepared)

    def _run_in_threads(self, images: Iterable[ImageSource]) -> Iterator[Batch]:
        """The same threads prepare images and run the model, so that no core waits for the other's part."""
        cores = os.cpu_count() or 1
        running: deque[tuple[list[PreparedImage], Future[list[Output]]]] = deque()
        with ThreadPoolExecutor(cores) as pool:
            for batch in _batches(self._prepare_ahead(images, pool)):
                running.append((batch, pool.submit(self.classifier.outputs, batch)))
                if len(running) > cores:
                    yield _result(*running.popleft())
            while running:
                yield _result(*running.popleft())

    def _prepare_ahead(
        self, images: Iterable[ImageSource], pool: ThreadPoolExecutor
    ) -> Iterator[PreparedImage]:
        queue: deque[Future[PreparedImage]] = deque()
        for i, image in enumerate(images):
            queue.append(pool.submit(self.preparer.prepare, _name(i, image), image))
            if len(queue) >= LOOK_AHEAD:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()


def load_predictor(
    model: Path | str = "default",
    *,
    detect: bool = True,
    max_error: float | None = None,
    coverage: float | None = None,
    device: str = AUTO,
) -> Predictor:
    """Load a model and create its predictor.

    Args:
        model: `default`, the model that ships with the package, or the path of an exported ONNX file.
        detect: False takes every image whole, as one face crop.
        max_error: Target error rate among the answers, such as 0.2; see `Predictor`.
        coverage: Target coverage of the prediction sets, such as 0.9; see `Predictor`.
        device: Where the model runs: `cpu`, `cuda`, `coreml`, `openvino`, or `auto`, which is CUDA where
            ONNX Runtime has it and it works, else the CPU. A device that is missing is replaced by the CPU
            with a logged warning. Faces are found on the CPU, so that every device is given the same crops.

    Returns:
        A predictor that uses all cores.

    Raises:
        ModelError: The file is missing, is not ONNX or was not exported by this package.
        ConfigError: The model was not measured for the target error rate or the target coverage, or there is
            no such device.

    Example:
        >>> for record in load_predictor().predict([Path("photo.jpg")]):
        ...     print(record.age_group, record.confidence)
    """
    warn_of_two_opencv_packages()
    path = default_model_path() if model == "default" else Path(model)
    detector = YuNet() if detect else None
    # one thread a batch and as many batches as cores give more faces a second than two threads a batch
    onnx = OnnxModel(path, threads=1, device=device)
    return Predictor(onnx, detector, max_error=max_error, coverage=coverage)


def _name(i: int, image: ImageSource) -> str:
    return str(image) if isinstance(image, Path | str) else f"image-{i}"


def _batches(images: Iterable[PreparedImage]) -> Iterator[list[PreparedImage]]:
    """Lists of images with a batch of faces, or with fewer where many images have none."""
    batch: list[PreparedImage] = []
    for image in images:
        batch.append(image)
        if sum(len(item.faces) for item in batch) >= BATCH or len(batch) >= LOOK_AHEAD:
            yield batch
            batch = []
    yield batch


def _result(images: list[PreparedImage], outputs: Future[list[Output]]) -> Batch:
    return images, outputs.result()
