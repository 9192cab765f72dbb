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
from threeages.inference.answer import Policy
from threeages.inference.classify import BATCH, FaceClassifier, Output
from threeages.inference.prepare import FacePreparer, PreparedImage
from threeages.inference.records import Record
from threeages.inference.runtime import OnnxModel, default_model_path
from threeages.inference.sources import Images, Source, open_sources
from threeages.inference.together import Together
from threeages.sessions import AUTO

LOOK_AHEAD = 128  # images prepared before the model runs: bounds the memory whatever the folder's size

Batch = tuple[list[PreparedImage], list[Output]]


class Predictor:
    """Finds the faces in images and predicts the age group of each.

    `load_predictor` creates one in a call. Threads may share a predictor; it can be pickled, copied and sent
    to another process, which loads the model from its file.

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

    def predict(self, images: Images, *, bgr: bool = False) -> Iterator[Record]:
        """Yield the records of images, in their order, while later images are still being decoded.

        Args:
            images: One image or any number of them: paths (`str` or `os.PathLike`), files' bytes, files
                opened in binary mode, Pillow images, or arrays with the channels in the order red, green,
                blue. An array is uint8 `(height, width, 3)` or anything that `convert_array` makes that of:
                grey, with alpha, channels first, 16 bits, floats.
            bgr: The arrays have the order blue, green, red, as OpenCV's have. Says nothing of other images.

        Yields:
            One record a face, the largest face of an image first; for an image without a face, or one that
            cannot be read, a single record that says so in `status` and `message`. A bad image raises
            nothing and costs no other image its answer.

        Raises:
            TypeError: Something is no image; the message says what is allowed.

        Example:
            >>> predictor = load_predictor()
            >>> for record in predictor.predict("photo.jpg"):
            ...     print(record.status, record.age_group, record.probs)
        """
        return self._answer(open_sources(images), bgr)

    def predict_together(self, images: Images, *, bgr: bool = False) -> Iterator[Record]:
        """Yield the records of images of the same person, then one record for all images together.

        The last record pools the outputs for the largest face of each image (see `Together`). Its `path` is
        `together` and it has no box; its status is `no_face` where no image shows a face. Several photos
        give a more accurate answer than one: results/photos.csv says by how much.

        Args:
            images: As for `predict`.
            bgr: As for `predict`.

        Yields:
            The records of `predict`, and one more.

        Raises:
            TypeError: Something is no image.
        """
        return self._answer_together(open_sources(images), bgr)

    def _answer(self, sources: Iterator[Source], bgr: bool) -> Iterator[Record]:
        for prepared, outputs in self._run(sources, bgr):
            yield from self.classifier.records(prepared, outputs)

    def _answer_together(self, sources: Iterator[Source], bgr: bool) -> Iterator[Record]:
        together = Together(self.classifier.policy)
        for prepared, outputs in self._run(sources, bgr):
            yield from self.classifier.records(prepared, outputs)
            rest = iter(outputs)
            for image in prepared:
                together.add(image, list(islice(rest, len(image.faces))))
        yield together.record()

    def _run(self, sources: Iterator[Source], bgr: bool) -> Iterator[Batch]:
        """Prepared images with the outputs for their faces; a lone image is not worth starting threads."""
        first = list(islice(sources, 2))
        if len(first) == 2:
            yield from self._run_in_threads(chain(first, sources), bgr)
        else:
            prepared = [self.preparer.prepare(source.name, source.content, bgr=bgr) for source in first]
            yield prepared, self.classifier.outputs(prepared)

    def _run_in_threads(self, sources: Iterable[Source], bgr: bool) -> Iterator[Batch]:
        """The same threads prepare images and run the model, so that no core waits for the other's part."""
        cores = os.cpu_count() or 1
        running: deque[tuple[list[PreparedImage], Future[list[Output]]]] = deque()
        with ThreadPoolExecutor(cores) as pool:
            for batch in _batches(self._prepare_ahead(sources, bgr, pool)):
                running.append((batch, pool.submit(self.classifier.outputs, batch)))
                if len(running) > cores:
                    yield _result(*running.popleft())
            while running:
                yield _result(*running.popleft())

    def _prepare_ahead(
        self, sources: Iterable[Source], bgr: bool, pool: ThreadPoolExecutor
    ) -> Iterator[PreparedImage]:
        queue: deque[Future[PreparedImage]] = deque()
        for source in sources:
            queue.append(pool.submit(self.preparer.prepare, source.name, source.content, bgr=bgr))
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
        >>> for record in load_predictor().predict("photo.jpg"):
        ...     print(record.age_group, record.confidence)
    """
    warn_of_two_opencv_packages()
    path = default_model_path() if model == "default" else Path(model)
    detector = YuNet() if detect else None
    # one thread a batch and as many batches as cores give more faces a second than two threads a batch
    onnx = OnnxModel(path, threads=1, device=device)
    return Predictor(onnx, detector, max_error=max_error, coverage=coverage)


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
