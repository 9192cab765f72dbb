"""Selective classification: the risk among the most confident answers; plain numpy.

Source: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks" (2017).
"""

import numpy as np
from numpy.typing import ArrayLike

from threeages.errors import ConfigError
from threeages.evaluation.metrics import Floats, check_rows, identity_codes

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
MIN_ANSWERS = 100  # an error rate of 10 % measured on fewer is too uncertain


def compute_risk_coverage(labels: ArrayLike, probs: ArrayLike) -> list[dict[str, float]]:
    """The risk-coverage curve at coverages of 100 %, 90 % ... 10 %.

    Labels `(n,)`, probs `(n, 3)`. A point holds `coverage` (the share of the rows, most confident first),
    `confidence` (the lowest among them) and `risk` (their share of errors).
    """
    confidence, risk = _by_confidence(labels, probs)
    counts = [max(1, round(share * len(risk))) for share in COVERAGES]
    return [
        {"coverage": n / len(risk), "confidence": float(confidence[n - 1]), "risk": float(risk[n - 1])}
        for n in counts
    ]


def find_confidence_threshold(
    labels: ArrayLike,
    probs: ArrayLike,
    identities: ArrayLike | None,
    target_error: float,
    weights: ArrayLike | None = None,
) -> float | None:
    """The lowest confidence from which on the selective risk is at most `target_error`.

    Labels `(n,)` and probs `(n, 3)` of held-out identities; `identities` `(n,)` or None where every row is
    one of its own. The risk is that of rows of these `weights` `(n,)`, or of equal ones. The result is None
    where no 100 answers have so low a risk. ConfigError where the rate is not between 0 and 1.

    One further identity that is always wrong is counted in, which corrects for the finite sample as in
    conformal risk control (Angelopoulos et al. 2022). Without it the risk on held-out identities exceeds the
    target error rate more often than not.
    """
    if not 0 < target_error < 1:
        raise ConfigError(
            f"The target error rate was {target_error}.", hint="Give a share between 0 and 1, such as 0.1."
        )
    confidence, risk = _by_confidence(labels, probs, weights)
    count = len(risk) if identities is None else int(identity_codes(identities).max()) + 1
    corrected = (count * risk + 1) / (count + 1)
    last_of_ties = np.append(confidence[1:] < confidence[:-1], True)
    enough = np.arange(1, len(risk) + 1) >= min(MIN_ANSWERS, len(risk))
    good = np.flatnonzero((corrected <= target_error) & last_of_ties & enough)
    return float(confidence[good[-1]]) if len(good) else None


def _by_confidence(
    labels: ArrayLike, probs: ArrayLike, weights: ArrayLike | None = None
) -> tuple[Floats, Floats]:
    """Confidence of the rows in falling order `(n,)`, and the risk among the rows up to each `(n,)`."""
    truth, p = check_rows(labels, probs)
    weigh = np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64)
    confidence = p.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = (p.argmax(axis=1) != truth)[order]
    weigh = weigh[order]
    risk: Floats = np.cumsum(wrong * weigh) / np.cumsum(weigh)
    return confidence[order], risk
