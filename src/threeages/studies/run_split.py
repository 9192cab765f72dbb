"""The train and test rows of a run among some rows of its manifest, as the run's folder names them."""

from pathlib import Path

import numpy as np

from threeages.data.manifest import IDENTITY, Manifest
from threeages.data.split import Split
from threeages.data.train_digests import load_train_digests
from threeages.evaluation.predictions import PREDICTIONS, load_predictions


def read_run_split(manifest: Manifest, run: Path) -> Split | None:
    """The rows of a manifest that a run was trained and tested on; the others are in neither.

    Train rows are those of identities that the run was trained on (its digests), test rows those that it has
    predictions for. No image is read, and the manifest may be a part of the run's. None where the folder does
    not hold both. Raises DataError where the predictions are damaged.
    """
    digests = load_train_digests(run)
    if digests is None or not len(digests.identities) or not (run / PREDICTIONS).is_file():
        return None
    trained = digests.find_identities(manifest.columns.get(IDENTITY, ("",) * len(manifest)))
    predicted = set(load_predictions(run / PREDICTIONS).paths)
    tested = np.asarray([path in predicted for path in manifest.paths], dtype=np.bool_)
    nothing = np.empty(0, dtype=np.int64)
    return Split(np.flatnonzero(trained & ~tested), nothing, np.flatnonzero(tested & ~trained), 0)
