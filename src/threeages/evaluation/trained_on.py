"""Rows that the model was trained on: found by digest, told beside metrics, refused for thresholds."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from threeages.data.manifest import IDENTITY, Manifest
from threeages.data.train_digests import TrainDigests, digest_images
from threeages.errors import DataError, format_count
from threeages.evaluation.predictions import PredictionTable

TRAINED_ON = "trained_on"  # column: what of a row the model was trained on
IMAGE, SAME_IDENTITY, NOTHING = "image", "identity", "no"
OTHERS = f"threeages evaluate PREDICTIONS --only {TRAINED_ON}={NOTHING} --out FOLDER"


def mark_rows(manifest: Manifest, digests: TrainDigests) -> Manifest:
    """The manifest with the column `trained_on`: `image`, `identity` or `no`.

    Every image is read for it. `identity` are other images of an identity whose name is that of one in
    training, so that sets which number their persons alike must name them apart first.
    """
    names = manifest.columns.get(IDENTITY, ("",) * len(manifest))
    cells = np.where(digests.find_identities(names), SAME_IDENTITY, NOTHING)
    cells = np.where(digests.find_images(digest_images(manifest.files())), IMAGE, cells)
    return replace(manifest, columns={**manifest.columns, TRAINED_ON: tuple(cells.tolist())})


def describe_trained(table: PredictionTable) -> Iterator[str]:
    """The warning that belongs beside every metric of rows that the model was trained on, if any."""
    images, identities = _count(table, IMAGE), _count(table, SAME_IDENTITY)
    if not images and not identities:
        return
    counts = [f"{images:,} are train images of this model"] if images else []
    if identities:
        counts.append(f"{identities:,}{' more' if images else ''} show identities that it was trained on")
    yield (
        f"Of {format_count(int(table.scored().sum()), 'scored image')} {', and '.join(counts)}: expect lower "
        f"metrics on new people. Evaluate the others alone: {OTHERS}"
    )


def check_held_out(table: PredictionTable, purpose: str) -> None:
    """Raise DataError unless the rows may be of held-out identities, as far as the table says.

    `purpose` says what needs them, as the plural subject of a sentence.
    """
    if table.provenance.split == "random":
        raise DataError(
            "These predictions are of a random split, where the same identities may be in training and among "
            f"the rows evaluated. {purpose} would promise more than holds for new people.",
            hint="Train with: threeages train MANIFEST --split identity. Give the predictions of that run.",
        )
    trained = _count(table, IMAGE) + _count(table, SAME_IDENTITY)
    if trained:
        raise DataError(
            f"The model was trained on the image or the identity of {trained:,} of "
            f"{format_count(int(table.scored().sum()), 'scored row')}. {purpose} would promise more than "
            "holds for new people.",
            hint=f"Keep the others alone: {OTHERS}",
        )


def describe_unknown(table: PredictionTable) -> Iterator[str]:
    """What to say where neither a run nor the model's digests tell that the rows were held out."""
    if not table.provenance.split and TRAINED_ON not in table.columns:
        yield (
            "The predictions do not say how their rows were split: what follows holds only if the model was "
            "trained on none of these identities."
        )


def _count(table: PredictionTable, what: str) -> int:
    """Scored rows with this cell in `trained_on`."""
    cells = table.columns.get(TRAINED_ON, ("",) * len(table))
    return int((np.asarray(cells) == what)[table.scored()].sum())
