import time

import numpy as np
import pytest
from sklearn import metrics as sk

from threeages.errors import DataError
from threeages.evaluation import metrics


def _case(n=200, seed=0, classes=(0, 1, 2)):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n)
    return labels, rng.dirichlet((1, 1, 1), n) * 0.7 + 0.3 * np.eye(3)[labels]


@pytest.mark.parametrize("classes", [(0, 1, 2), (0, 2), (1,)])
def test_agrees_with_scikit_learn(classes):
    labels, probs = _case(classes=classes)
    answer = probs.argmax(axis=1)
    assert metrics.accuracy(labels, probs) == pytest.approx(sk.accuracy_score(labels, answer))
    recalls = sk.recall_score(labels, answer, labels=list(classes), average="macro", zero_division=0)
    assert metrics.balanced_accuracy(labels, probs) == pytest.approx(recalls)
    f1 = sk.f1_score(labels, answer, labels=list(classes), average="macro", zero_division=0)
    assert metrics.f1_macro(labels, probs) == pytest.approx(f1)
    assert metrics.mae_bins(labels, probs) == pytest.approx(sk.mean_absolute_error(labels, answer))
    kappa = sk.cohen_kappa_score(labels, answer, weights="quadratic", labels=[0, 1, 2])
    assert metrics.qwk(labels, probs) == pytest.approx(kappa)
    assert metrics.nll(labels, probs) == pytest.approx(sk.log_loss(labels, probs, labels=[0, 1, 2]))
    brier = ((probs - np.eye(3)[labels]) ** 2).sum(axis=1).mean()
    assert metrics.brier(labels, probs) == pytest.approx(brier)
    matrix = sk.confusion_matrix(labels, answer, labels=[0, 1, 2])
    assert (metrics.confusion_matrix(labels, probs) == matrix).all()


def test_per_class_agrees_with_scikit_learn():
    labels, probs = _case()
    expected = sk.precision_recall_fscore_support(labels, probs.argmax(axis=1), labels=[0, 1, 2])
    found = metrics.per_class(labels, probs)
    assert list(found) == ["YOUNG", "MIDDLE", "OLD"]
    for i, row in enumerate(found.values()):
        assert list(row.values()) == pytest.approx([e[i] for e in expected])


def test_ece_and_within_one_of_a_case_done_by_hand():
    probs = [[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]
    labels = [0, 2, 0, 1]
    assert metrics.ece(labels, probs) == pytest.approx((2 * abs(0.9 - 0.5) + 2 * abs(0.5 - 0.5)) / 4)
    assert metrics.within_one(labels, probs) == 0.75
    assert metrics.nll([2], [[0.9, 0.1, 0.0]]) == pytest.approx(-np.log(1e-7))


def test_ece_is_the_average_over_the_reliability_bins():
    labels, probs = _case()
    bins = metrics.reliability_bins(labels, probs)
    assert sum(b["n"] for b in bins) == len(labels)
    assert all(b["low"] < b["confidence"] <= b["high"] for b in bins)
    gap = sum(b["n"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / len(labels)
    assert metrics.ece(labels, probs) == pytest.approx(gap)


def test_qwk_is_nan_where_it_is_not_defined():
    assert np.isnan(metrics.qwk([1, 1], [[0.1, 0.8, 0.1]] * 2))


@pytest.mark.parametrize(
    ("labels", "probs"),
    [([], np.empty((0, 3))), ([-1], [[1, 0, 0]]), ([0], [[np.nan] * 3]), ([0], [[0.5, 0.5]])],
)
def test_refuses_what_cannot_be_judged(labels, probs):
    with pytest.raises(DataError, match=r"rows|judged"):
        metrics.summarize(labels, probs)


def test_resamples_equal_those_computed_from_the_rows():
    labels, probs = _case(60)
    identities = np.repeat(np.arange(12), 5).astype(str)
    found = metrics.bootstrap_by_cluster(labels, probs, identities, n=50, seed=3)
    rng = np.random.default_rng(3)
    draws = rng.integers(12, size=(50, 12))
    # the cluster codes follow the sorted names, in which '10' stands before '2'
    order = np.unique(identities)
    rows = [np.concatenate([np.flatnonzero(identities == order[c]) for c in draw]) for draw in draws]
    figures = [metrics.summarize(labels[r], probs[r]) for r in rows]
    for name, interval in found.items():
        assert interval == pytest.approx(np.percentile([f[name] for f in figures], [2.5, 97.5])), name


def test_intervals_by_cluster_are_wider_where_clusters_agree():
    rng = np.random.default_rng(0)
    labels, identities = np.repeat(rng.integers(3, size=20), 20), np.repeat(np.arange(20), 20).astype(str)
    probs = np.eye(3)[(labels + np.repeat(rng.integers(2, size=20), 20)) % 3]
    by_row = metrics.bootstrap_by_cluster(labels, probs, None)["accuracy"]
    by_cluster = metrics.bootstrap_by_cluster(labels, probs, identities)["accuracy"]
    assert np.diff(by_cluster) > 3 * np.diff(by_row)
    assert by_cluster[0] < metrics.accuracy(labels, probs) < by_cluster[1]


def test_one_cluster_allows_no_interval():
    labels, probs = _case(10)
    assert np.isnan(metrics.bootstrap_by_cluster(labels, probs, ["a"] * 10)["accuracy"]).all()


def test_rows_of_unknown_cluster_stand_alone():
    assert len(set(metrics.identity_codes(["", "a", "", "a", "b"]).tolist())) == 4
    codes = metrics.identity_codes(["", "a", "", "a"])
    assert codes[1] == codes[3]
    assert codes.max() == 2


def test_bootstrap_is_repeatable_and_quick():
    labels, probs = _case(20_000)
    start = time.perf_counter()
    first = metrics.bootstrap_by_cluster(labels, probs, None, n=1000)
    assert (
        time.perf_counter() - start < 20
    )  # about 1 s on two free cores; a loop over resamples takes minutes
    labels, probs = _case(100)
    again = [metrics.bootstrap_by_cluster(labels, probs, None, n=100, seed=s) for s in (1, 1, 2)]
    assert again[0] == again[1] != again[2]
    assert set(first) == set(metrics.summarize(labels, probs))
