"""Images to records: prepared in threads, answered in batches. Needs no torch."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from threeages.errors import ConfigError
from threeages.faces.detect import Detector
from threeages.faces.opencv import warn_of_two_opencv_packages
from threeages.faces.yunet import YuNet
from threeages.inference.answer import Policy
from threeages.inference.brackets import Brackets
from threeages.inference.classify import FaceClassifier
from threeages.inference.named import DEFAULT, find_model_file
from threeages.inference.pipeline import Batch, held_bytes, run_batches
from threeages.inference.prepare import FacePreparer
from threeages.inference.records import Record
from threeages.inference.runtime import OnnxModel
from threeages.inference.sources import Images, Source, open_sources
from threeages.inference.together import Together
from threeages.sessions import AUTO


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
        brackets: First years of brackets of ages, such as `(0, 13, 18, 30, 50)`, whose probabilities are in
            `Record.brackets`. They are an impression of the age and make no age check.

    Raises:
        ConfigError: The model was not measured for the target error rate or the target coverage, the brackets
            do not rise, or they were given for a model without a distribution over years.
    """

    def __init__(
        self,
        model: OnnxModel,
        detector: Detector | None,
        *,
        max_error: float | None = None,
        coverage: float | None = None,
        brackets: str | Iterable[int] | Brackets | None = None,
    ) -> None:
        self.preparer = FacePreparer(model.signature, detector)
        wanted = open_brackets(model, brackets)
        self.classifier = FaceClassifier(model, Policy.create(model.signature, max_error, coverage, wanted))

    def predict(self, images: Images, *, bgr: bool = False) -> Iterator[Record]:
        """Yield the records of images, in their order, while later images are still being decoded.

        Args:
            images: One image or any number of them: paths (`str` or `os.PathLike`), files' bytes, files
                opened in binary mode, Pillow images, or arrays with the channels in the order red, green,
                blue. An array is uint8 `(height, width, 3)` or anything that `convert_array` makes that of:
                grey, with alpha, channels first, 16 bits, floats. An iterator may be slow and endless, such
                as a camera: it is read in another thread, and its images are answered while it waits for its
                next one.
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

    def predict_by_image(self, images: Images, *, bgr: bool = False) -> Iterator[list[Record]]:
        """Yield the records of each image together, as soon as it is answered.

        Args:
            images: As for `predict`.
            bgr: As for `predict`.

        Yields:
            The records of `predict`, in one list an image.

        Raises:
            TypeError: Something is no image.
        """
        return self._answer_by_image(open_sources(images), bgr)

    def _answer_by_image(self, sources: Iterable[Source], bgr: bool) -> Iterator[list[Record]]:
        for prepared, outputs in self._run(sources, bgr):
            yield from self.classifier.records_by_image(prepared, outputs)

    def _answer(self, sources: Iterable[Source], bgr: bool) -> Iterator[Record]:
        for prepared, outputs in self._run(sources, bgr):
            yield from self.classifier.records(prepared, outputs)

    def _answer_together(self, sources: Iterable[Source], bgr: bool) -> Iterator[Record]:
        together = Together(self.classifier.policy)
        for prepared, outputs in self._run(sources, bgr):
            yield from self.classifier.records(prepared, outputs)
            rest = iter(outputs)
            for image in prepared:
                together.add(image, list(islice(rest, len(image.faces))))
        yield together.record()

    def _run(self, sources: Iterable[Source], bgr: bool) -> Iterator[Batch]:
        return run_batches(
            sources,
            lambda source: self.preparer.prepare(source.name, source.content, bgr=bgr),
            self.classifier.outputs,
            held=lambda source: held_bytes(source.content),
            batch=self.classifier.model.batch,
        )


def load_predictor(
    model: Path | str = DEFAULT,
    *,
    detect: bool = True,
    max_error: float | None = None,
    coverage: float | None = None,
    device: str = AUTO,
    brackets: str | Iterable[int] | Brackets | None = None,
) -> Predictor:
    """Load a model and create its predictor.

    Args:
        model: `default`, the model that ships with the package, `large`, the one that `threeages models fetch
            large` writes, or the path of an exported ONNX file.
        detect: False takes every image whole, as one face crop.
        max_error: Target error rate among the answers, such as 0.2; see `Predictor`.
        coverage: Target coverage of the prediction sets, such as 0.9; see `Predictor`.
        device: Where the model runs: `cpu`, `cuda`, `coreml`, `openvino`, or `auto`, which is CUDA where
            ONNX Runtime has it and it works, else the CPU. A device that is missing is replaced by the CPU
            with a logged warning. Faces are found on the CPU, so that every device is given the same crops.
        brackets: First years of brackets of ages, such as `(0, 13, 18, 30, 50)`; see `Predictor`.

    Returns:
        A predictor that uses all cores.

    Raises:
        ModelError: The file is missing or not fetched, is not ONNX or was not exported by this package.
        ConfigError: The model was not measured for the target error rate or the target coverage, there is no
            such device, or the brackets cannot be answered.

    Example:
        >>> for record in load_predictor().predict("photo.jpg"):
        ...     print(record.age_group, record.confidence)
    """
    warn_of_two_opencv_packages()
    path = find_model_file(model)
    detector = YuNet() if detect else None
    # one thread a batch and as many batches as cores give more faces a second than two threads a batch
    onnx = OnnxModel(path, threads=1, device=device)
    return Predictor(onnx, detector, max_error=max_error, coverage=coverage, brackets=brackets)


def open_brackets(model: OnnxModel, brackets: str | Iterable[int] | Brackets | None) -> Brackets | None:
    """The brackets of ages to answer, None without any.

    Raises ConfigError where they do not rise, or the model gives no distribution over years.
    """
    if brackets is None:
        return None
    if not model.has_years:
        raise ConfigError(
            f"The model {model.signature.name} gives no distribution over years, which brackets are made of.",
            hint="Take the default model, or train one with an extra head for years.",
        )
    return Brackets.create(brackets)
