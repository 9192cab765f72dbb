"""What can be said of a split before any image is read."""

from collections.abc import Sequence

import numpy as np

from threeages.data.manifest import Manifest
from threeages.data.split import SplitMode, create_split
from threeages.errors import ConfigError, DataError

MAX_SEED = 2**32 - 1  # of scikit-learn


def check_split(
    manifest: Manifest,
    mode: SplitMode = "identity",
    *,
    fold: int = 0,
    folds: int = 5,
    seed: int = 42,
    held_out: Sequence[str] = (),
) -> None:
    """Raise what `create_split` would raise where no image were a duplicate; takes a moment.

    Raises ConfigError where a setting is not allowed, DataError where the manifest is too small.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"The seed was {seed}.", hint=f"Allowed: 0 to {MAX_SEED}.")
    if len(manifest) < 2 and mode == "random":
        raise DataError(
            f"The manifest has {len(manifest)} rows; a random split needs at least 2.", hint="Add images."
        )
    different = np.arange(len(manifest), dtype=np.int64)[:, None].view(np.uint8)
    create_split(manifest, different, mode, fold=fold, folds=folds, seed=seed, held_out=held_out)
