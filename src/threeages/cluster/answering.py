"""Answers images in a process that a damaged image may end: it holds one predictor."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from threeages.errors import ModelError
from threeages.files.checksums import checksum
from threeages.inference.predictor import Predictor, load_predictor
from threeages.inference.records import Record
from threeages.inference.sources import Source


@dataclass(frozen=True)
class AnswerOptions:
    """What the answers depend on; the fields are those of `load_predictor`.

    `digest` is the checksum of the model's file: every machine reads its own copy of it.
    """

    model: Path
    digest: str
    detect: bool = True
    max_error: float | None = None
    coverage: float | None = None
    brackets: str | None = None


_OPEN: dict[AnswerOptions, Predictor] = {}  # of this process


def open_once(options: AnswerOptions) -> Predictor:
    """The predictor of this process; raises ModelError where this machine has another model."""
    if options not in _OPEN:
        _check_model(options)
        _OPEN[options] = load_predictor(
            options.model,
            detect=options.detect,
            max_error=options.max_error,
            coverage=options.coverage,
            device="cpu",
            brackets=options.brackets,
        )
    return _OPEN[options]


def warm_up(options: AnswerOptions) -> None:
    """Return when this process can answer: what ends it later is an image."""
    open_once(options)


def answer_images(options: AnswerOptions, sources: Sequence[Source]) -> list[list[Record]]:
    """The records of each image, in order, in one thread: the faces of all of them share batches."""
    predictor = open_once(options)
    prepared = [predictor.preparer.prepare_any(source.name, source.content) for source in sources]
    outputs = predictor.classifier.outputs(prepared)
    return list(predictor.classifier.records_by_image(prepared, outputs))


def _check_model(options: AnswerOptions) -> None:
    found = checksum(options.model) if options.model.is_file() else "missing"
    if found != options.digest:
        raise ModelError(
            f"The model {options.model} of a worker is another than that of the command: {found} there, "
            f"{options.digest} here.",
            hint="Every machine needs the same release of threeages, and a model that it can read.",
        )
