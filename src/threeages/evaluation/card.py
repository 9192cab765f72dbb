"""A model card in Markdown: what the model is for, and what was measured on which people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template

import numpy as np

from threeages.errors import ImageError
from threeages.evaluation.evaluate import SLICE_FIGURES, Evaluation, evaluate
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.report import NAMES
from threeages.evaluation.thresholds import measure_answers
from threeages.faces.images import load_image
from threeages.files import atomic_path
from threeages.signature import Signature

SIZES = ((0, 32), (32, 64), (64, 128), (128, 256), (256, 100_000))  # pixels of the shorter side
GREY = 6.0  # mean spread of the colour channels, of 255, below which an image passes for grey
SLICES = ("gender", "pose", "image_size", "color", "age_decade", "expression", "race", "abstained")
TITLES = {
    "image_size": "shorter side in pixels",
    "color": "grey or colour",
    "age_decade": "decade of age",
    "abstained": "reason that `predict` would give instead of an answer",
}

_CARD = Template("""# Model card: $name

Answers which of three age groups a face looks like: YOUNG (13-30), MIDDLE (31-50) or OLD (51 and
over)$years. One ONNX file of $megabytes MB; input $size x $size pixels, uint8 RGB; preprocessing and
thresholds inside. This card is written by `threeages card` from the predictions of measured runs; no
figure is typed in.

## Intended use
Statistics over many faces, sorting one's own photos, research on how such models err. The answer is an
impression of apparent age, as annotators had it, and not a person's age.

## Not for
- Deciding anything about a single person: access, sales, work, credit, insurance, police, borders.
- Proof of age. A person who looks 35 may be 17.
- Children. The training data hold nobody under 13 as a group; a face that looks younger gets no answer
  where the model estimates years, and a wrong one where it does not.
- Watching people who did not agree to it.

## Data and its terms
- Film faces (`arashnic/faces-age-detection-dataset` on Kaggle, drawn from IMFDB): frames from Indian
  films of about a hundred actors; labels are annotators' impressions. Research use; no image is
  redistributed here.
- UTKFace, where a set below is named so: faces with years from 0 to 116 found on the web. Non-commercial
  research; no image is redistributed here.

## What was measured
Every set consists of people outside the training of the model that answered. Intervals are 95 %, by
bootstrap over persons where they are known, else over images.

$summary

$details

## When it abstains
$thresholds

## Not tested
Other countries' films and photos beyond the sets above, faces behind masks or heavy make-up, infrared,
drawings, faces made by a computer, surgical or burn scars, people under 13. Skin tone is not recorded in
the film faces, so no figure by skin tone can be given for them. Nothing was tested on attacks meant to
mislead the model.
""")


@dataclass(frozen=True)
class CardSet:
    """Predictions on people outside training; `root` is the images' folder, for slices by size and colour."""

    name: str
    table: PredictionTable
    root: Path | None = None


def write_card(
    sets: Sequence[CardSet], signature: Signature, out: Path, *, megabytes: float, has_years: bool
) -> None:
    """Write the card of the model with that signature; raises DataError where a set has no row to judge."""
    judged = [(s.name, evaluate(with_image_columns(s.table, s.root) if s.root else s.table)) for s in sets]
    text = _CARD.substitute(
        name=signature.name,
        years=", and an apparent age in years with a 90 % interval" if has_years else "",
        megabytes=f"{megabytes:.1f}",
        size=signature.input_size,
        summary=_summary(judged),
        details="\n\n".join(_details(name, result) for name, result in judged),
        thresholds=_thresholds(signature, sets),
    )
    with atomic_path(out) as part:
        part.write_text(text, encoding="utf-8")


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


def _summary(judged: Sequence[tuple[str, Evaluation]]) -> str:
    header = ("Set", "Images", "Persons", "Accuracy", "Balanced accuracy", "Macro F1", "ECE", "Years MAE")
    return _table(header, ((name, *_headline(result)) for name, result in judged))


def _headline(result: Evaluation) -> list[str]:
    persons = f"{result.units:,}" if result.unit != "image" else "not known"
    years = f"{result.years['mae']:.2f}" if result.years else ""
    return [f"{result.n:,}", persons, *(_with_interval(result, k) for k in (*SLICE_FIGURES, "ece")), years]


def _details(name: str, result: Evaluation) -> str:
    parts = [
        f"### {name}",
        _table(
            ("Class", "Precision", "Recall", "F1", "Images"),
            (
                (group, *(f"{row[k]:.3f}" for k in ("precision", "recall", "f1")), f"{row['support']:,}")
                for group, row in result.per_class.items()
            ),
        ),
    ]
    if result.failed:
        parts.append("Not judged: " + ", ".join(f"{k} {v:,}" for k, v in result.failed.items()) + ".")
    if result.years:
        covered = result.years["interval_coverage"]
        parts.append(f"The 90 % intervals of years hold the age of {covered:.1%} of the faces.")
    for column in SLICES:
        if column in result.slices:
            rows = (
                (value, f"{figures['n']:,}", *(f"{figures[k]:.3f}" for k in SLICE_FIGURES))
                for value, figures in result.slices[column].items()
            )
            header = (f"By {TITLES.get(column, column)}", "Images", *(NAMES[k] for k in SLICE_FIGURES))
            parts.append(_table(header, rows))
    return "\n\n".join(parts)


def _thresholds(signature: Signature, sets: Sequence[CardSet]) -> str:
    text = (
        "A picture without a face, a face under 16 pixels and one that is hopelessly blurred "
        "get a reason and no answer."
    )
    if not signature.error_thresholds and not signature.set_thresholds:
        return text + " No thresholds for error rates or sets were measured for this model."
    shares = ((f"{share:.0%}", f"{probability:.3f}") for share, probability in signature.set_thresholds)
    return "\n\n".join(
        [
            text,
            "Answered and wrong are shares of each set and of its answers; where the confidences were\n"
            "chosen on a set, of persons left out of the choice.",
            _answered(signature, sets),
            _table(("`--coverage`", "a group is in the set from this probability on"), shares),
        ]
    )


def _answered(signature: Signature, sets: Sequence[CardSet]) -> str:
    """What each error rate that may be wished for comes to on every set."""
    found = [measure_answers(s.table, signature) for s in sets]
    header = ["`--max-error`", "answers from this confidence on"]
    header += [f"{s.name}: {what}" for s in sets for what in ("answered", "wrong")]
    rows = (
        [f"{rate:.0%}", f"{confidence:.3f}", *(f"{share:.3f}" for pair in measured for share in pair)]
        for (rate, confidence), *measured in zip(signature.error_thresholds, *found, strict=True)
    )
    return _table(header, rows)


def _with_interval(result: Evaluation, figure: str) -> str:
    low, high = result.intervals[figure]
    return f"{result.metrics[figure]:.3f} ({low:.3f}-{high:.3f})"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
