from typing import Any

import numpy as np
import pytest

from threeages.errors import ConfigError
from threeages.inference.answer import Policy, face_record
from threeages.inference.brackets import EVERY_YEAR, Brackets, rescale_years
from threeages.signature import Signature


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("0,13,18,30,50", ("0-12", "13-17", "18-29", "30-49", "50+")),
        ("18", ("0-17", "18+")),
        ((0, 1, 2), ("0", "1", "2+")),
        (Brackets((0, 100)), ("0-99", "100+")),
    ],
)
def test_brackets_are_named_by_their_years(given: Any, names: tuple[str, ...]) -> None:
    assert Brackets.create(given).names == names


@pytest.mark.parametrize("given", ["", "x", "13,x", "18,13", "13,13", "-1,5", "101", (0,), "0", (1.5, "y")])
def test_what_is_no_brackets_is_refused_with_what_is_allowed(given: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Brackets.create(given)
    assert "such as 0,13,18,30,50" in caught.value.hint


@pytest.mark.parametrize("given", ["13,13", "0,0,18", (0, 18, 18)])
def test_a_year_that_is_given_twice_is_named_as_it_was_given(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"were '[0-9,]+': the year \d+ is given twice") as caught:
        Brackets.create(given)
    assert given != "13,13" or "'13,13'" in caught.value.message


def test_an_age_is_in_the_bracket_of_its_year() -> None:
    ages = np.array([0, 12.9, 13, 17.99, 18, 99])
    assert Brackets((0, 13, 18)).find(ages).tolist() == [0, 0, 1, 1, 2, 2]


def test_probabilities_are_sums_over_years() -> None:
    years = np.zeros((2, 101))
    years[0, [12, 13, 17, 100]] = 0.1, 0.2, 0.3, 0.4
    years[1, 50] = 2.0  # need not add up to 1
    probs = Brackets((0, 13, 18)).probs(years)
    np.testing.assert_allclose(probs, [[0.1, 0.5, 0.4], [0, 0, 1]])
    np.testing.assert_allclose(EVERY_YEAR.probs(years[0]), years[0])


def test_a_temperature_widens_and_1_changes_nothing() -> None:
    years = np.random.default_rng(0).dirichlet(np.ones(101), 3)
    np.testing.assert_array_equal(rescale_years(years, 1.0), years / years.sum(1, keepdims=True))
    wide = rescale_years(years, 2.0)
    np.testing.assert_allclose(wide.sum(axis=1), 1)
    assert (wide.max(axis=1) < years.max(axis=1)).all()
    assert (wide.argmax(axis=1) == years.argmax(axis=1)).all()


def test_a_record_holds_brackets_by_the_signatures_temperature() -> None:
    years = np.full(101, 0.001, dtype=np.float32)
    years[20] = 0.9
    signature, brackets = Signature("x", 8, years_temperature=2.0), Brackets((0, 18, 30))
    policy = Policy.create(signature, None, None, brackets)
    probs = np.array([0.8, 0.1, 0.1], dtype=np.float32)
    record = face_record("a", None, probs, years, policy=policy)
    assert record.brackets is not None
    assert list(record.brackets) == ["0-17", "18-29", "30+"]
    assert list(record.brackets.values()) == pytest.approx(brackets.probs(years, 2.0).tolist(), abs=1e-6)
    plain = face_record("a", None, probs, years, policy=Policy.create(signature, None, None))
    assert plain.brackets is None
    assert (record.age, record.age_low, record.age_high) == (plain.age, plain.age_low, plain.age_high)
    assert face_record("a", None, probs, None, policy=policy).brackets is None
