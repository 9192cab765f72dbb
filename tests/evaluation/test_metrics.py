import time
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from threeages.errors import DataError
from threeages.evaluation import metrics

Case = tuple[NDArray[np.int64], NDArray[np.float64]]


def _case(n: int = 200, seed: int = 0, classes: Sequence[int] = (0, 1, 2)) -> Case:
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n)
    return labels, rng.dirichlet((1, 1, 1), n) * 0.7 + 0.3 * np.eye(3)[labels]


@pytest.mark.parametrize("classes", [(0, 1, 2), (0, 2)])
def test_agrees_with_scikit_learn(classes: tuple[int, ...]) -> None:
    labels, probs = _case(classes=classes)
    preds, present = probs.argmax(axis=1), list(classes)
    assert metrics.summarize(labels, probs) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(labels, preds),
            "balanced_accuracy": sk.recall_score(
                labels, preds, labels=present, average="macro", zero_division=0
            ),
            "f1_macro": sk.f1_score(labels, preds, labels=present, average="macro", zero_division=0),
            "mae_bins": sk.mean_absolute_error(labels, preds),
            "within_one": (abs(labels - preds) <= 1).mean(),
            "qwk": sk.cohen_kappa_score(labels, preds, weights="quadratic", labels=[0, 1, 2]),
            "nll": sk.log_loss(labels, probs, labels=[0, 1, 2]),
            "brier": ((probs - np.eye(3)[labels]) ** 2).sum(axis=1).mean(),
            "ece": metrics.summarize(labels, probs)["ece"],  # scikit-learn has none; see the tests below
        }
    )
    matrix = sk.confusion_matrix(labels, preds, labels=[0, 1, 2])
    assert (metrics.confusion_matrix(labels, probs) == matrix).all()


def test_per_class_agrees_with_scikit_learn() -> None:
    labels, probs = _case()
    expected = sk.precision_recall_fscore_support(labels, probs.argmax(axis=1), labels=[0, 1, 2])
    found = metrics.per_class(labels, probs)
    assert list(found) == ["YOUNG", "MIDDLE", "OLD"]
    for i, row in enumerate(found.values()):
        assert list(row.values()) == pytest.approx([e[i] for e in expected])


def test_ece_within_one_and_nll_of_a_case_done_by_hand() -> None:
    probs = [[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]
    found = metrics.summarize([0, 2, 0, 1], probs)
    assert found["ece"] == pytest.approx((2 * abs(0.9 - 0.5) + 2 * abs(0.5 - 0.5)) / 4)
    assert found["within_one"] == 0.75
    assert metrics.nll([2], [[0.9, 0.1, 0.0]]) == pytest.approx(-np.log(1e-7))


def test_ece_is_the_mean_over_the_reliability_bins() -> None:
    labels, probs = _case()
    bins = metrics.reliability_bins(labels, probs)
    assert sum(b["n"] for b in bins) == len(labels)
    assert all(b["low"] < b["confidence"] <= b["high"] for b in bins)
    gap = sum(b["n"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / len(labels)
    assert metrics.summarize(labels, probs)["ece"] == pytest.approx(gap)


def test_means_over_classes_are_nan_where_one_class_occurs() -> None:
    labels, probs = _case(classes=(1,))
    found = metrics.summarize(labels, probs)
    assert np.isnan([found[name] for name in ("balanced_accuracy", "f1_macro", "qwk")]).all()
    assert found["accuracy"] == sk.accuracy_score(labels, probs.argmax(axis=1))


def test_a_class_without_a_row_has_no_recall_and_one_never_predicted_no_precision() -> None:
    found = metrics.per_class([0, 0, 1], [[0.8, 0.1, 0.1]] * 2 + [[0.1, 0.1, 0.8]])
    assert np.isnan([found["OLD"]["recall"], found["OLD"]["f1"], found["MIDDLE"]["precision"]]).all()
    assert (found["OLD"]["precision"], found["MIDDLE"]["recall"], found["MIDDLE"]["f1"]) == (0, 0, 0)
    assert (found["YOUNG"]["recall"], found["OLD"]["support"]) == (1, 0)


def test_qwk_is_nan_where_it_is_not_defined() -> None:
    assert np.isnan(metrics.summarize([1, 1], [[0.1, 0.8, 0.1]] * 2)["qwk"])


@pytest.mark.parametrize(
    ("labels", "probs"),
    [([], np.empty((0, 3))), ([-1], [[1, 0, 0]]), ([0], [[np.nan] * 3]), ([0], [[0.5, 0.5]])],
)
def test_refuses_rows_that_cannot_be_scored(labels: list[int], probs: list[list[float]]) -> None:
    with pytest.raises(DataError, match=r"rows|scored"):
        metrics.summarize(labels, probs)


def test_resamples_equal_those_computed_from_the_rows() -> None:
    labels, probs = _case(60)
    identities = np.repeat(np.arange(12), 5).astype(str)
    found = metrics.bootstrap_by_identity(labels, probs, identities, n=50, seed=3)
    rng = np.random.default_rng(3)
    resamples = rng.integers(12, size=(50, 12))
    # the codes of identities follow the sorted names, in which '10' stands before '2'
    order = np.unique(identities)
    rows = [np.concatenate([np.flatnonzero(identities == order[c]) for c in codes]) for codes in resamples]
    computed = [metrics.summarize(labels[r], probs[r]) for r in rows]
    for name, interval in found.items():
        assert interval == pytest.approx(np.percentile([c[name] for c in computed], [2.5, 97.5])), name


def test_intervals_by_identity_are_wider_where_rows_of_an_identity_agree() -> None:
    rng = np.random.default_rng(0)
    labels, identities = np.repeat(rng.integers(3, size=20), 20), np.repeat(np.arange(20), 20).astype(str)
    probs = np.eye(3)[(labels + np.repeat(rng.integers(2, size=20), 20)) % 3]
    by_row = metrics.bootstrap_by_identity(labels, probs, None)["accuracy"]
    by_identity = metrics.bootstrap_by_identity(labels, probs, identities)["accuracy"]
    assert np.diff(by_identity) > 3 * np.diff(by_row)
    assert by_identity[0] < metrics.summarize(labels, probs)["accuracy"] < by_identity[1]


def test_one_identity_allows_no_interval() -> None:
    labels, probs = _case(10)
    assert np.isnan(metrics.bootstrap_by_identity(labels, probs, ["a"] * 10)["accuracy"]).all()


def test_rows_of_an_unknown_identity_are_one_of_their_own() -> None:
    assert len(set(metrics.identity_codes(["", "a", "", "a", "b"]).tolist())) == 4
    codes = metrics.identity_codes(["", "a", "", "a"])
    assert codes[1] == codes[3]
    assert codes.max() == 2


def test_bootstrap_is_repeatable_and_quick() -> None:
    labels, probs = _case(20_000)
    start = time.perf_counter()
    first = metrics.bootstrap_by_identity(labels, probs, None, n=1000)
    seconds = time.perf_counter() - start
    assert seconds < 20  # about 1 s on two free cores; a loop over resamples takes minutes
    labels, probs = _case(100)
    again = [metrics.bootstrap_by_identity(labels, probs, None, n=100, seed=s) for s in (1, 1, 2)]
    assert again[0] == again[1] != again[2]
    assert set(first) == set(metrics.summarize(labels, probs))
