"""Linear probes on features, and the part that names the identity taken out of them.

Alain and Bengio, "Understanding Intermediate Layers Using Linear Classifier Probes" (2016); Belrose et al.,
"LEACE: Perfect Linear Concept Erasure in Closed Form" (2023), by the library concept-erasure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from threeages.data.split import Rows
from threeages.errors import MissingDependencyError
from threeages.labels import AGE_GROUPS

Float32 = NDArray[np.float32]
Erased = Literal["nothing", "identity", "identity within age group", "random directions"]
ERASED: tuple[Erased, ...] = get_args(Erased)
SEED = 0  # of the random directions
PENALTY = 0.01  # of both probes' weights beside the mean loss of a row; columns have a variance of 1
LEAST_CORRELATION = 1e-5  # below it the library would leave a direction in the features


@dataclass(frozen=True)
class Erasure:
    """Takes a part out of features `(n, d)`; `dimensions` is how many directions of `d` are lost."""

    apply: Callable[[Float32], Float32]
    dimensions: int


def fit_erasure(
    features: Float32, identities: NDArray[np.int64], labels: NDArray[np.int64], erased: Erased
) -> Erasure:
    """The projection that leaves no linear trace of the identities of these rows.

    `identity` makes the means of all identities equal, and with them whatever differs between identities on
    the whole, such as age; `identity within age group` makes the means of the identities of one age group
    equal and keeps what tells age groups apart. `random directions` takes out as many as `identity` does,
    those of identities in a random order: what the loss of directions alone costs.
    """
    if erased == "nothing":
        return Erasure(lambda x: x, 0)
    try:
        from concept_erasure import LeaceFitter
    except ModuleNotFoundError as error:
        raise MissingDependencyError("concept-erasure", "explain") from error
    if erased == "random directions":
        identities = np.random.default_rng(SEED).permutation(identities)
    x = torch.from_numpy(features).double()
    z = torch.from_numpy(np.eye(identities.max() + 1)[identities])
    if erased == "identity within age group":
        x, z = _subtract_means(x, labels), _subtract_means(z, labels)
    eraser = LeaceFitter.fit(x, z, svd_tol=LEAST_CORRELATION).eraser
    left, right = eraser.proj_left.float(), eraser.proj_right.float()

    def apply(values: Float32) -> Float32:
        given = torch.from_numpy(values)
        found: Float32 = (given - (given @ right.T) @ left.T).numpy()
        return found

    return Erasure(apply, int((right.norm(dim=1) > 0).sum()))


def probe_identities(features: Float32, identities: NDArray[np.int64], fit: Rows, held: Rows) -> Rows:
    """Which identity a linear probe, fitted on the rows `fit`, names for the rows `held`, as numbers.

    The probe is a ridge regression on the identities: for a hundred of them it is as good as a logistic one
    and takes a step instead of hundreds.
    """
    from sklearn.linear_model import RidgeClassifier

    values = standardize(features, fit)
    probe = RidgeClassifier(alpha=PENALTY * len(fit)).fit(values[fit], identities[fit])
    found: Rows = probe.predict(values[held])
    return found


def probe_age_groups(
    features: Float32, labels: NDArray[np.int64], fit: Rows, held: Rows
) -> NDArray[np.float64]:
    """Probabilities `(len(held), 3)` of a logistic probe that weighs the age groups of `fit` evenly."""
    from sklearn.linear_model import LogisticRegression

    values = standardize(features, fit)
    probe = LogisticRegression(C=1 / (PENALTY * len(fit)), class_weight="balanced", max_iter=500)
    probe.fit(values[fit], labels[fit])
    probs = np.zeros((len(held), len(AGE_GROUPS)))
    probs[:, probe.classes_] = probe.predict_proba(values[held])
    return probs


def standardize(features: Float32, rows: Rows) -> Float32:
    """The features with mean 0 and variance 1 over the given rows; a constant column becomes 0."""
    part = features[rows]
    spread = part.std(axis=0)
    floor = 1e-3 * float(spread.max(initial=0))  # what an erasure leaves of a direction is rounding
    scaled: Float32 = (features - part.mean(axis=0)) / np.where(spread > floor, spread, np.inf)
    return scaled


def _subtract_means(values: torch.Tensor, labels: NDArray[np.int64]) -> torch.Tensor:
    """The values `(n, d)` minus the mean of the rows with the same label."""
    centred = values.clone()
    for label in np.unique(labels):
        rows = torch.from_numpy(labels == label)
        centred[rows] -= values[rows].mean(dim=0)
    return centred
