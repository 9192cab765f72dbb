"""A model card in Markdown: what the model is for, and how it scores on which identities."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from threeages.data.paths import place_inside
from threeages.data.terms import SHIPPED
from threeages.errors import ConfigError, ImageError
from threeages.evaluation.card_terms import write_terms
from threeages.evaluation.evaluate import Evaluation, evaluate_table
from threeages.evaluation.front_matter import format_front_matter
from threeages.evaluation.model_index import Measured, create_metadata
from threeages.evaluation.predictions import REJECTION_REASON, PredictionTable
from threeages.evaluation.slices import SLICE_METRICS
from threeages.evaluation.tables import (
    METRIC_TITLES,
    format_interval,
    format_number,
    format_with_interval,
    load_template,
    markdown_table,
)
from threeages.evaluation.thresholds import measure_selective_risk
from threeages.evaluation.trained_on import check_held_out
from threeages.evaluation.unseen import evaluate_unseen, write_unseen
from threeages.faces.images import load_image
from threeages.files.writing import write_text
from threeages.signature import Signature

NO_SOURCES = "What the model answers to faces of sources that it never met was not measured."
SIZES = ((0, 32), (32, 64), (64, 128), (128, 256), (256, 100_000))  # pixels of the shorter side
GREY = 6.0  # mean spread of the colour channels, of 255, below which an image counts as grey
SLICES = ("gender", "pose", "image_size", "color", "age_decade", "expression", "race", REJECTION_REASON)
SLICE_TITLES = {
    "image_size": "shorter side in pixels",
    "color": "grey or colour",
    "age_decade": "decade of age",
    REJECTION_REASON: "reason for which `predict` gives no answer",
}
REJECTIONS = """A picture without a face, a face under 16 pixels and one that is hopelessly blurred get a
reason instead of an answer."""
TARGETS = """Coverage is the share of a set that is answered, selective risk the share of errors among those
answers. On a set that the thresholds were chosen on, both are cross-fitted over identities."""


@dataclass(frozen=True)
class CardSet:
    """Predictions on held-out identities; `root` is the images' folder, for slices by size and colour."""

    name: str
    table: PredictionTable
    root: Path | None = None


def write_card(
    sets: Sequence[CardSet],
    signature: Signature,
    out: Path,
    *,
    name: str,
    megabytes: float,
    has_years: bool,
    is_shipped: bool = False,
    unseen: PredictionTable | None = None,
    train_sources: Mapping[str, int] | None = None,
) -> None:
    """Write the card of the model with that signature: front matter for programs, then text and tables.

    `unseen` holds answers to sources by models of the same recipe that never met them, each named in the
    column `held_out`. `name` is the model's in the title. The terms of the training data are those of
    `train_sources`, the train images by source, or, of a model of this package (`is_shipped`), of those that
    it was trained on. That has a text of its own before them. Without any the card says that they are not
    known, since the runs that the predictions are of may be others. Raises DataError where a set has no
    scored row, or is not of held-out identities, ConfigError where two sets have one name.
    """
    _check_names([s.name for s in sets])
    for one in sets:
        check_held_out(one.table, f"A card's figures on {one.name}")
    evaluated = list(_evaluate(sets))
    found = evaluate_unseen(unseen) if unseen else []
    sources: Mapping[str, int | None] = train_sources or (dict.fromkeys(SHIPPED) if is_shipped else {})
    title = f"threeages {version('threeages')} {name}"
    text = load_template("card.md").substitute(
        front_matter=format_front_matter(create_metadata(title, evaluated, found, sources)),
        title=title,
        terms="\n\n".join(write_terms(sources, is_shipped)),
        years=" It also estimates apparent age with a 90 % interval." if has_years else "",
        megabytes=f"{megabytes:.1f}",
        architecture=signature.name,
        size=signature.input_size,
        summary=_summary(evaluated),
        details="\n\n".join(part for one in evaluated for part in _details(one)),
        unseen="\n\n".join(write_unseen(unseen, found)) if unseen else NO_SOURCES,
        thresholds="\n\n".join(_thresholds(signature, sets)),
    )
    write_text(out, text)


def _check_names(names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(
            f"Two sets have the name {twice[0]}.",
            hint="Give every set a name of its own; predictions of one set are joined with commas.",
        )


def _evaluate(sets: Sequence[CardSet]) -> Iterator[Measured]:
    for one in sets:
        table = with_image_columns(one.table, one.root) if one.root else one.table
        yield Measured(one.name, table, evaluate_table(table))


def with_image_columns(table: PredictionTable, root: Path) -> PredictionTable:
    """The table with `image_size` and `color` of every image below `root`; '' where it cannot be read."""
    described = [_describe(path, root) for path in table.paths]
    columns = {"image_size": tuple(d[0] for d in described), "color": tuple(d[1] for d in described)}
    return replace(table, columns=table.columns | columns)


def _describe(path: str, root: Path) -> tuple[str, str]:
    try:
        pixels = load_image(place_inside(path, root))
    except ImageError:
        return "", ""
    low, high = next(bounds for bounds in SIZES if min(pixels.shape[:2]) < bounds[1])
    channels = pixels.reshape(-1, 3).astype(np.int16)
    spread = float((channels.max(axis=1) - channels.min(axis=1)).mean())
    size = f"{low}-{high - 1}" if high < SIZES[-1][1] else f"{low} or more"
    return size, "grey" if spread < GREY else "colour"


def _summary(evaluated: Sequence[Measured]) -> str:
    header = ("Set", "Images", "Identities", "Accuracy", "Balanced accuracy", "Macro F1", "ECE", "Years MAE")
    return markdown_table(header, ((one.name, *_headline(one.result)) for one in evaluated))


def _headline(result: Evaluation) -> list[str]:
    identities = f"{result.units:,}" if result.unit != "image" else "not known"
    metrics = (format_with_interval(result, name) for name in (*SLICE_METRICS, "ece"))
    return [f"{result.n:,}", identities, *metrics, f"{result.years['mae']:.2f}" if result.years else ""]


def _details(measured: Measured) -> Iterator[str]:
    result = measured.result
    yield f"### {measured.name}"
    yield from (f"**Warning.** {note}" for note in result.notes)
    yield _classes(result)
    if result.failed:
        yield "Not scored: " + ", ".join(f"{status} {n:,}" for status, n in result.failed.items()) + "."
    if result.years and math.isfinite(result.years["interval_coverage"]):
        yield f"The 90 % intervals hold the age of {result.years['interval_coverage']:.1%} of the faces."
    yield from (_slice(result, column) for column in SLICES if column in result.slices)


def _classes(result: Evaluation) -> str:
    rows = (
        (name, *(format_number(row[k]) for k in ("precision", "recall", "f1")), f"{row['support']:,}")
        for name, row in result.per_class.items()
    )
    return markdown_table(("Class", "Precision", "Recall", "F1", "Images"), rows)


def _slice(result: Evaluation, column: str) -> str:
    """The table of a column; identities are counted where they are known."""
    known = result.unit != "image"
    rows = (
        (value, *_counts(found, known), *(_bounded(found, name) for name in SLICE_METRICS))
        for value, found in result.slices[column].items()
    )
    counted = ("Images", "Identities") if known else ("Images",)
    title = f"By {SLICE_TITLES.get(column, column)}"
    return markdown_table((title, *counted, *(METRIC_TITLES[name] for name in SLICE_METRICS)), rows)


def _counts(found: Mapping[str, float], known: bool) -> Iterator[str]:
    yield from (f"{found[name]:,}" for name in (("n", "units") if known else ("n",)))


def _bounded(found: Mapping[str, float], name: str) -> str:
    """A slice's metric, with its interval where the slice has enough identities for one."""
    bounds = found[f"{name}_low"], found[f"{name}_high"]
    interval = f" ({format_interval(bounds)})" if math.isfinite(bounds[0]) else ""
    return f"{format_number(found[name])}{interval}"


def _thresholds(signature: Signature, sets: Sequence[CardSet]) -> Iterator[str]:
    yield REJECTIONS
    if not signature.error_thresholds and not signature.set_thresholds:
        yield "No thresholds for target error rates or prediction sets were measured for this model."
        return
    yield TARGETS
    yield _risk_table(signature, sets)
    rows = ((f"{share:.0%}", f"{probability:.3f}") for share, probability in signature.set_thresholds)
    yield markdown_table(("`--coverage`", "probability from which a group is in the set"), rows)


def _risk_table(signature: Signature, sets: Sequence[CardSet]) -> str:
    """Coverage and selective risk of every set at each target error rate."""
    measured = [measure_selective_risk(s.table, signature) for s in sets]
    header = ["`--max-error`", "confidence threshold"]
    header += [f"{s.name}: {what}" for s in sets for what in ("coverage", "selective risk")]
    rows = (
        [f"{target:.0%}", f"{confidence:.3f}", *(f"{share:.3f}" for pair in pairs for share in pair)]
        for (target, confidence), *pairs in zip(signature.error_thresholds, *measured, strict=True)
    )
    return markdown_table(header, rows)
