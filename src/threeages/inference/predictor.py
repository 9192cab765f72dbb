"""Images to records: prepared in threads, answered in batches. Needs no torch."""

from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from pathlib import Path

import numpy as np

from threeages.faces.detect import Detector
from threeages.faces.yunet import YuNet
from threeages.inference.answer import Policy, Pool, face_record
from threeages.inference.classify import FaceClassifier
from threeages.inference.pipeline import Batch, held_bytes, run_batches
from threeages.inference.prepare import FacePreparer, ImageSource
from threeages.inference.records import Record
from threeages.inference.runtime import OnnxModel, default_model_path

TOGETHER = "together"  # path of the record that answers several images of the same person
NamedImage = tuple[str, ImageSource]


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
                axis). An iterator may be slow and endless, such as a camera: it is read in another thread,
                and its images are answered while it waits for its next one.

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
        return run_batches(
            _name_images(images),
            lambda named: self.preparer.prepare(*named),
            self.classifier.outputs,
            held=lambda named: held_bytes(named[1]),
        )


def load_predictor(
    model: Path | str = "default",
    *,
    detect: bool = True,
    max_error: float | None = None,
    coverage: float | None = None,
) -> Predictor:
    """Load a model and create its predictor.

    Args:
        model: `default`, the model that ships with the package, or the path of an exported ONNX file.
        detect: False takes every image whole, as one face crop.
        max_error: Target error rate among the answers, such as 0.2; see `Predictor`.
        coverage: Target coverage of the prediction sets, such as 0.9; see `Predictor`.

    Returns:
        A predictor that runs on the CPU, on all cores.

    Raises:
        ModelError: The file is missing, is not ONNX or was not exported by this package.
        ConfigError: The model was not measured for the target error rate or the target coverage.

    Example:
        >>> for record in load_predictor().predict([Path("photo.jpg")]):
        ...     print(record.age_group, record.confidence)
    """
    path = default_model_path() if model == "default" else Path(model)
    detector = YuNet() if detect else None
    # one thread a batch and as many batches as cores give more faces a second than two threads a batch
    return Predictor(OnnxModel(path, threads=1), detector, max_error=max_error, coverage=coverage)


def _name_images(images: Iterable[ImageSource]) -> Iterable[NamedImage]:
    """The images with their names; a list where there is at most one, as threads are not worth starting."""
    named = (_name(i, image) for i, image in enumerate(images))
    if isinstance(images, Sized):
        return list(named) if len(images) <= 1 else named
    # an iterator may write its next frame into the same array
    return ((name, image.copy() if isinstance(image, np.ndarray) else image) for name, image in named)


def _name(i: int, image: ImageSource) -> NamedImage:
    return str(image) if isinstance(image, Path | str) else f"image-{i}", image
