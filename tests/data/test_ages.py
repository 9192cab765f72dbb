import pytest

from threeages.data.ages import MAX_AGE, Ages, interval_cells, parse_ages, plain_age, read_interval


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("25", 25, 25), ("025", 25, 25), ("25.5", 25.5, 25.5), ("25,5", 25.5, 25.5), (" 25 years ", 25, 25),
        ("age_25", 25, 25), ("Age: 25", 25, 25), ("25 y", 25, 25), ("25-32", 25, 32), ("25 – 32", 25, 32),
        ("25_32", 25, 32), ("(25, 32)", 25, 32), ("[25;32]", 25, 32), ("25, 32", 25, 32),
        ("25 to 32", 25, 32),
        ("Age 20-29", 20, 29), ("20s", 20, 29), ("25-32 years old", 25, 32), ("60+", 60, MAX_AGE),
        ("more than 70", 71, MAX_AGE), (">70", 71, MAX_AGE), (">= 51", 51, MAX_AGE), ("≥51", 51, MAX_AGE),
        ("51 and over", 51, MAX_AGE), ("70 or older", 70, MAX_AGE), ("51_plus", 51, MAX_AGE),
        ("at least 60", 60, MAX_AGE), ("under 13", 0, 12), ("<=30", 0, 30), ("up to 30", 0, 30),
        ("30 and under", 0, 30), ("0-2", 0, 2),
    ],
)  # fmt: skip
def test_ages_and_ranges_are_read(text: str, low: float, high: float) -> None:
    ages = parse_ages(text)
    assert ages is not None
    assert (ages.low, ages.high) == (low, high)
    assert ages.is_range == (low != high)


@pytest.mark.parametrize(
    "text", ["", "nan", "-1", "999", "2019", "Oct-19", "32-25", "old", "age", "1_000", "a25b"]
)
def test_what_is_no_age_is_none(text: str) -> None:
    assert parse_ages(text) is None


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("25,5", "25.5"),
        ("30 years", "30"),
        ("25", "25"),
        ("25.0", "25.0"),
        ("20-29", "20-29"),
        ("", ""),
        ("x", "x"),
    ],
)
def test_single_ages_become_numbers(text: str, plain: str) -> None:
    assert plain_age(text) == plain


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ("50", "56", Ages(50, 56)), ("70", "", Ages(70, MAX_AGE)), ("", "12", Ages(0, 12)),
        ("40", "40", Ages(40, 40)),
        ("", "", None), ("56", "50", None), ("x", "50", None), ("20-30", "40", None), ("-1", "-1", None),
    ],
)  # fmt: skip
def test_two_cells_are_a_range(low: str, high: str, expected: Ages | None) -> None:
    assert read_interval(low, high) == expected
    if expected:
        assert read_interval(*interval_cells(expected)) == expected
