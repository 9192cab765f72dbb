from pathlib import Path

import numpy as np
import pytest

from threeages.data.manifest import Manifest
from threeages.errors import ConfigError
from threeages.training.batches import TrainingData, order_rows
from threeages.training.config import TrainConfig
from threeages.training.sampling import source_log_priors, weigh_rows

# source A: four rows YOUNG of one identity; source B: one row OLD, one without a label, nobody named
MANIFEST = Manifest(
    Path(),
    ("a", "b", "c", "d", "e", "f"),
    np.array([0, 0, 0, 0, 2, -1]),
    {"source": ("A", "A", "A", "A", "B", "B"), "identity": ("p", "p", "p", "p", "", "")},
)
ALL = np.arange(6)


@pytest.mark.parametrize(
    ("balance", "weights"),
    [
        ((), [1, 1, 1, 1, 1, 1]),
        (("source",), [4**-0.5] * 4 + [2**-0.5] * 2),
        (("group",), [4**-0.5] * 4 + [1, 1]),
        (("source", "group"), [4**-0.5] * 4 + [1, 1]),
        (("identity",), [4**-0.5] * 4 + [1, 1]),
        (("source", "group", "identity"), [0.25] * 4 + [1, 1]),
    ],
)
def test_rows_weigh_one_over_the_root_of_how_many_are_alike(
    balance: tuple[str, ...], weights: list[float]
) -> None:
    assert np.allclose(weigh_rows(MANIFEST, ALL, balance), weights)


def test_only_train_rows_are_counted() -> None:
    assert np.allclose(weigh_rows(MANIFEST, np.array([0, 4]), ("source", "group", "identity")), 1)
    alone = source_log_priors(MANIFEST, np.array([0, 1, 5]))
    assert np.allclose(np.exp(alone[4]), 1 / 3)  # no labelled train row of that source
    assert np.allclose(np.exp(alone[3]), [3 / 5, 1 / 5, 1 / 5])


def test_priors_are_those_of_the_rows_own_source() -> None:
    shares = np.exp(source_log_priors(MANIFEST, ALL))
    assert shares.dtype == np.float32
    assert np.allclose(shares[0], [5 / 7, 1 / 7, 1 / 7])
    assert np.allclose(shares[5], [1 / 4, 1 / 4, 2 / 4])
    assert np.allclose(shares.sum(axis=1), 1)


def test_a_manifest_without_sources_is_one_source() -> None:
    plain = Manifest(Path(), ("a", "b"), np.array([1, 1]))
    assert np.allclose(weigh_rows(plain, np.arange(2), ("source", "identity")), 2**-0.5)
    assert np.allclose(np.exp(source_log_priors(plain, np.arange(2))), [1 / 5, 3 / 5, 1 / 5])


def test_weighted_rows_are_drawn_in_proportion_and_others_once() -> None:
    data = TrainingData(np.zeros((6, 1, 1, 3), np.uint8), {}, b"")
    rng = np.random.default_rng(0)
    assert sorted(order_rows(data, np.array([1, 3, 5]), rng)) == [1, 3, 5]
    weighted = TrainingData(data.pixels, {}, b"", weights=np.array([9.0, 1, 0, 3, 0, 9]))
    drawn = order_rows(weighted, np.repeat([1, 2, 3], 1000), rng)
    assert len(drawn) == 3000
    assert set(drawn) == {1, 3}
    assert np.mean(drawn == 3) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"balance": "source,colour"}, "balance names 'colour', allowed are source, group, identity"),
        ({"logit_adjustment": 0.5, "head": "corn"}, "logit_adjustment needs the head softmax or"),
        ({"logit_adjustment": 2.0}, "logit_adjustment is 2.0, at most 1 is needed"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TrainConfig(**settings)  # type: ignore[arg-type]
