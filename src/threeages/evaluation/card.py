"""A model card in Markdown: what the model is for, and how it scores on which identities."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from threeages.data.terms import find_terms
from threeages.errors import ImageError
from threeages.evaluation.evaluate import Evaluation, evaluate_table
from threeages.evaluation.predictions import REJECTION_REASON, PredictionTable
from threeages.evaluation.provenance import join_sources
from threeages.evaluation.slices import SLICE_METRICS
from threeages.evaluation.tables import (
    METRIC_TITLES,
    format_number,
    format_with_interval,
    load_template,
    markdown_table,
)
from threeages.evaluation.thresholds import measure_selective_risk
from threeages.evaluation.trained_on import check_held_out
from threeages.evaluation.unseen import write_unseen
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
    is_default: bool = False,
    unseen: PredictionTable | None = None,
) -> None:
    """Write the card of the model with that signature.

    `unseen` holds answers to sources by models of the same recipe that never met them, each named in the
    column `held_out`. `name` is the model's in the title. The terms of the training data are those of the
    sources that the runs of the predictions name; the shipped default (`is_default`) has a text of its own
    before them. Raises DataError where a set has no scored row, or is not of held-out identities.
    """
    for one in sets:
        check_held_out(one.table, f"A card's figures on {one.name}")
    tables = [with_image_columns(s.table, s.root) if s.root else s.table for s in sets]
    evaluated = [(s.name, evaluate_table(table)) for s, table in zip(sets, tables, strict=True)]
    answers = [*(s.table for s in sets), *([unseen] if unseen else [])]
    sources = join_sources(table.provenance for table in answers)
    text = load_template("card.md").substitute(
        title=f"threeages {version('threeages')} {name}",
        terms="\n\n".join(_terms(sources, is_default)),
        years=" It also estimates apparent age with a 90 % interval." if has_years else "",
        megabytes=f"{megabytes:.1f}",
        architecture=signature.name,
        size=signature.input_size,
        summary=_summary(evaluated),
        details="\n\n".join(part for pair in evaluated for part in _details(*pair)),
        unseen="\n\n".join(write_unseen(unseen)) if unseen else NO_SOURCES,
        thresholds="\n\n".join(_thresholds(signature, sets)),
    )
    write_text(out, text)


def _terms(sources: Mapping[str, int], is_default: bool) -> Iterator[str]:
    """What the terms of the training data allow, in the first line, and a row for each source."""
    if is_default or not sources:
        yield load_template(f"terms_{'default' if is_default else 'unknown'}.md").template.strip()
    else:
        yield _sum_up_terms([name for name in sources if find_terms(name).use != "permissive"])
    if sources:
        found = ((find_terms(name), count) for name, count in sources.items())
        rows = ((f"`{t.name}`", f"{count:,}", t.title, t.terms, t.use) for t, count in found)
        yield markdown_table(("Source", "Train images", "What it is", "Terms as stated", "Use"), rows)


def _sum_up_terms(restricted: Sequence[str]) -> str:
    if not restricted:
        text = "The terms stated for every source of the training data allow any use; name the sources."
    else:
        text = f"""The terms stated for these sources of the training data do not allow any use, or are
        not known: {", ".join(restricted)}. Ask their holders before any commercial use."""
    return textwrap.fill(f"**Terms of the weights.** {' '.join(text.split())}", 110)


def with_image_columns(table: PredictionTable, root: Path) -> PredictionTable:
    """The table with `image_size` and `color` of every image below `root`; '' where it cannot be read."""
    described = [_describe(root / path) for path in table.paths]
    columns = {"image_size": tuple(d[0] for d in described), "color": tuple(d[1] for d in described)}
    return replace(table, columns=table.columns | columns)


def _describe(path: Path) -> tuple[str, str]:
    try:
        pixels = load_image(path)
    except ImageError:
        return "", ""
    low, high = next(bounds for bounds in SIZES if min(pixels.shape[:2]) < bounds[1])
    channels = pixels.reshape(-1, 3).astype(np.int16)
    spread = float((channels.max(axis=1) - channels.min(axis=1)).mean())
    size = f"{low}-{high - 1}" if high < SIZES[-1][1] else f"{low} or more"
    return size, "grey" if spread < GREY else "colour"


def _summary(evaluated: Sequence[tuple[str, Evaluation]]) -> str:
    header = ("Set", "Images", "Identities", "Accuracy", "Balanced accuracy", "Macro F1", "ECE", "Years MAE")
    return markdown_table(header, ((name, *_headline(result)) for name, result in evaluated))


def _headline(result: Evaluation) -> list[str]:
    identities = f"{result.units:,}" if result.unit != "image" else "not known"
    metrics = (format_with_interval(result, name) for name in (*SLICE_METRICS, "ece"))
    return [f"{result.n:,}", identities, *metrics, f"{result.years['mae']:.2f}" if result.years else ""]


def _details(name: str, result: Evaluation) -> Iterator[str]:
    yield f"### {name}"
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
    rows = (
        (value, f"{found['n']:,}", *(format_number(found[name]) for name in SLICE_METRICS))
        for value, found in result.slices[column].items()
    )
    title = f"By {SLICE_TITLES.get(column, column)}"
    return markdown_table((title, "Images", *(METRIC_TITLES[name] for name in SLICE_METRICS)), rows)


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
