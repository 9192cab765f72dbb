"""How far the error falls when the least confident answers are left out; plain numpy."""

import numpy as np
from numpy.typing import ArrayLike

from threeages.errors import ConfigError
from threeages.evaluation.metrics import Floats, check_rows, identity_codes

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
MIN_ANSWERS = 100  # fewer answers than this make no error rate of 10 % worth the name


def risk_coverage(labels: ArrayLike, probs: ArrayLike) -> list[dict[str, float]]:
    """The error among the most confident 100 %, 90 % ... 10 % of the rows.

    Labels `(n,)`, probs `(n, 3)`; a point has `answered` (share of rows), `confidence` (the lowest among
    them) and `error`.
    """
    confidence, errors = _by_confidence(labels, probs)
    counts = [max(1, round(share * len(errors))) for share in SHARES]
    return [
        {"answered": n / len(errors), "confidence": float(confidence[n - 1]), "error": float(errors[n - 1])}
        for n in counts
    ]


def area_under_risk(labels: ArrayLike, probs: ArrayLike) -> float:
    """Mean error over every share of rows that may be answered (AURC, Geifman and El-Yaniv 2017): 0 to 1."""
    return float(_by_confidence(labels, probs)[1].mean())


def error_threshold(
    labels: ArrayLike, probs: ArrayLike, identities: ArrayLike | None, rate: float
) -> float | None:
    """The lowest confidence from which on the answers have an error of `rate` at most.

    Labels `(n,)`, probs `(n, 3)` of people outside training; identities `(n,)` name the person, or None where
    every row is one of its own. None where no 100 answers have so low an error. One more person, at worst
    always wrong, is counted in, as in conformal risk control (Angelopoulos et al. 2022): without it the error
    on persons left out was above the wished rate in 14 of 15 measurements.
    """
    if not 0 < rate < 1:
        raise ConfigError(f"The error rate was {rate}.", hint="Give a share between 0 and 1, such as 0.1.")
    confidence, errors = _by_confidence(labels, probs)
    persons = len(errors) if identities is None else int(identity_codes(identities).max()) + 1
    errors = (persons * errors + 1) / (persons + 1)
    last_of_ties = np.append(confidence[1:] < confidence[:-1], True)
    enough = np.arange(1, len(errors) + 1) >= min(MIN_ANSWERS, len(errors))
    good = np.flatnonzero((errors <= rate) & last_of_ties & enough)
    return float(confidence[good[-1]]) if len(good) else None


def _by_confidence(labels: ArrayLike, probs: ArrayLike) -> tuple[Floats, Floats]:
    """Confidence of the rows, falling, and the error among the rows up to each."""
    truth, p = check_rows(labels, probs)
    confidence = p.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = (p.argmax(axis=1) != truth)[order]
    errors: Floats = np.cumsum(wrong) / np.arange(1, len(wrong) + 1)
    return confidence[order], errors
