"""Two runs of one recipe, on a random and on an identity-disjoint split: the gap between them."""

from dataclasses import replace

from threeages.errors import DataError
from threeages.evaluation import metrics
from threeages.evaluation.evaluate import find_identities, scored_rows
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.split_gap import Measured, compute_split_gap


def measure_split_gap(random: PredictionTable, disjoint: PredictionTable) -> PredictionTable:
    """The first table with the gap to the second in its provenance, whose notes tell it.

    Raises DataError unless the first is of a random split and the second of one by identity.
    """
    for table, split in ((random, "random"), (disjoint, "identity")):
        if table.provenance.split != split:
            found = table.provenance.split or "not known"
            raise DataError(
                f"A gap needs predictions of a random split and of one by identity; instead of {split} one "
                f"is {found}.",
                hint="Train once with --split random and once with --split identity. Then run: threeages "
                "evaluate RANDOM --disjoint IDENTITY --out FOLDER.",
            )
    gap = compute_split_gap(_measure(random), _measure(disjoint))
    return replace(random, provenance=replace(random.provenance, gap=gap))


def _measure(table: PredictionTable) -> Measured:
    """The accuracy with its interval by identity; DataError where no row can be scored."""
    rows = scored_rows(table)
    labels, probs, identities = table.labels[rows], table.probs[rows], find_identities(table, rows)
    bounds = metrics.bootstrap_by_identity(labels, probs, identities)["accuracy"]
    return (metrics.summarize(labels, probs)["accuracy"], *bounds)
