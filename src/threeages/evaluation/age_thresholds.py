"""False acceptance and false rejection at limits of age, and the challenge age for a target rate.

A face is accepted where its expected apparent age reaches the challenge age, which is the limit itself or
lies above it. In the manner of NIST's Face Analysis Technology Evaluation, Age Estimation and Verification
(Hanaoka et al., NIST IR 8525, 2024): by true year, as a rate over all ages says more about the ages of a data
set than about the model.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threeages.data.manifest import IDENTITY
from threeages.errors import ConfigError, DataError, format_count
from threeages.evaluation.enough import count_units
from threeages.evaluation.metrics import Floats, identity_codes
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.rates import Rate, measure_rate
from threeages.evaluation.slices import MIN_IDENTITIES, NOT_GIVEN, list_sliced
from threeages.inference.records import OK

NEAR = 4  # years at each side of a limit that are compared: 14 to 17 and 18 to 21
TARGET_RATES = (0.1, 0.05, 0.02, 0.01)
OLDEST = 100  # the highest challenge age
NO_AGE_CHECK = (
    "These figures make no age check: they are of photos that were not taken to deceive, of the people and "
    "cameras of these data alone, and of an impression of age, which no document confirms."
)

Mask = NDArray[np.bool_]
Rates = dict[str, Rate]
Slices = dict[str, dict[str, Rates]]


@dataclass(frozen=True)
class ChallengeAge:
    """The least whole challenge age whose false acceptance is at most `target_rate`.

    The upper end of the interval of the near years' false acceptance is at most the target there and at every
    higher age, so that chance does not choose it. `age` is None where no age up to 100 does that; the rates
    are then of no face. `false_rejection` is of all ages from the limit on, `false_rejection_near` of the
    four years from it.
    """

    target_rate: float
    age: int | None
    false_acceptance_near: Rate
    false_rejection_near: Rate
    false_rejection: Rate


@dataclass(frozen=True)
class AgeThreshold:
    """What happens at a limit of age where the challenge age is that limit.

    `false_acceptance` is the share of younger people who are accepted, `false_rejection` that of others who
    are not; those named `near` are of the four years at that side of the limit. `accepted_by_year` holds the
    share accepted by true year. `slices` holds the near rates by column and value, for values of enough
    identities on either side, with intervals that hold for all of them at once.
    """

    limit: int
    false_acceptance: Rate
    false_acceptance_near: Rate
    false_rejection: Rate
    false_rejection_near: Rate
    accepted_by_year: Rates
    slices: Slices
    challenges: tuple[ChallengeAge, ...]


@dataclass(frozen=True)
class AgeThresholds:
    """The rates at every limit over `n` rows of `units` identities, or images where none is named."""

    n: int
    units: int
    limits: tuple[AgeThreshold, ...]
    near_years: int = NEAR
    min_identities: int = MIN_IDENTITIES
    note: str = NO_AGE_CHECK

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Ages:
    """True and expected ages in years `(n,)` and the number of each row's identity."""

    true: Floats
    expected: Floats
    units: NDArray[np.int64]

    def accepted(self, rows: Mask, challenge: float, comparisons: int = 1) -> Rate:
        hits = self.expected[rows] >= challenge
        return measure_rate(hits, self.units[rows], comparisons=comparisons)

    def rejected(self, rows: Mask, challenge: float, comparisons: int = 1) -> Rate:
        hits = self.expected[rows] < challenge
        return measure_rate(hits, self.units[rows], comparisons=comparisons)

    def sides(self, limit: int, width: float = math.inf) -> tuple[Mask, Mask]:
        """Masks of the rows up to `width` years below the limit, and of those from it on."""
        below = (self.true < limit) & (self.true >= limit - width)
        return below, (self.true >= limit) & (self.true < limit + width)


def parse_limits(text: str) -> tuple[int, ...]:
    """Limits of age from text such as '18,21,25'; ConfigError for anything but whole years from 1 to 100."""
    try:
        limits = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        limits = ()
    if not limits or limits[0] < 1 or limits[-1] > OLDEST:
        raise ConfigError(
            f"The limits of age were '{text}'.",
            hint=f"Give whole years from 1 to {OLDEST} with commas, such as 18,21,25.",
        )
    return limits


def check_target_rates(rates: Iterable[float]) -> None:
    """Raise ConfigError where a target rate of false acceptance is not between 0 and 1."""
    given = tuple(rates)
    if not all(0 < rate < 1 for rate in given):
        raise ConfigError(
            f"The target rates were {', '.join(f'{rate:g}' for rate in given)}.",
            hint="Give shares between 0 and 1, such as 0.05,0.01.",
        )


def evaluate_age_thresholds(
    table: PredictionTable, limits: Iterable[int], *, target_rates: Iterable[float] = TARGET_RATES
) -> AgeThresholds:
    """Rates at limits of age in years, of every row with an answer, an age of one year and an expected age.

    A label is not needed, so children count. The intervals are 95 % over identities. DataError where no row
    has both ages, ConfigError where a target rate is not between 0 and 1.
    """
    targets = tuple(target_rates)
    check_target_rates(targets)
    ages, rows = _read_ages(table)
    columns = list_sliced({name: [cells[i] for i in rows] for name, cells in table.columns.items()})
    columns.pop("age_decade", None)
    found = tuple(_evaluate(ages, limit, columns, targets) for limit in limits)
    return AgeThresholds(len(rows), len(np.unique(ages.units)), found)


def describe_missing(found: AgeThreshold) -> Iterator[str]:
    """Where no challenge age meets a target rate a sentence: the faces there are, and those needed."""
    targets = [one.target_rate for one in found.challenges if one.age is None]
    if not targets:
        return
    low, high, near = max(found.limit - NEAR, 0), found.limit - 1, found.false_acceptance_near
    there = count_units(near.n, near.units, IDENTITY) if near.n else "no image"
    needed = ", ".join(f"{least_units(target):,} for {target:.1%}" for target in targets)
    yield (
        f"Limit {found.limit}: no challenge age up to {OLDEST} can be shown to meet the target "
        f"{', '.join(f'{t:.1%}' for t in targets)}. The data hold {there} of {low} to {high} years. "
        f"Even where none is accepted, these numbers of identities are needed: {needed}."
    )


def least_units(target_rate: float) -> int:
    """The fewest identities of which none is accepted whose interval stays within a target rate."""
    n = max(math.floor(1 / target_rate) - 1, 1)
    nobody = np.zeros(1, dtype=np.bool_)
    while not measure_rate(nobody.repeat(n), np.arange(n)).high <= target_rate:
        n += 1
    return n


def measure_challenge(table: PredictionTable, limit: int, target_rate: float, age: int) -> ChallengeAge:
    """The rates at a challenge age that was chosen elsewhere for the target; DataError as above."""
    return _measure(_read_ages(table)[0], limit, target_rate, age)


def _read_ages(table: PredictionTable) -> tuple[_Ages, NDArray[np.int64]]:
    """The ages, and the indices of the rows that have both; DataError without any."""
    answered = np.asarray([status == OK for status in table.status])
    true, expected = table.ages(), table.numbers("predicted_age")
    rows = np.flatnonzero(answered & np.isfinite(true) & np.isfinite(expected))
    if not len(rows):
        raise DataError(
            f"None of {format_count(len(table), 'prediction')} has both a true and a predicted age.",
            hint="Age thresholds need the columns age and predicted_age.",
        )
    known = table.identities()
    units = np.arange(len(rows)) if known is None else identity_codes(known[rows])
    return _Ages(true[rows], expected[rows], units), rows


def _evaluate(
    ages: _Ages, limit: int, columns: dict[str, list[str]], targets: tuple[float, ...]
) -> AgeThreshold:
    below, above = ages.sides(limit)
    near_below, near_above = ages.sides(limit, NEAR)
    years = np.floor(ages.true)
    return AgeThreshold(
        limit,
        ages.accepted(below, limit),
        ages.accepted(near_below, limit),
        ages.rejected(above, limit),
        ages.rejected(near_above, limit),
        {str(int(year)): ages.accepted(years == year, limit) for year in np.unique(years)},
        _slice(ages, limit, columns),
        tuple(_find_challenge(ages, limit, target) for target in targets),
    )


def _slice(ages: _Ages, limit: int, columns: dict[str, list[str]]) -> Slices:
    """The near rates of every value with enough identities, corrected for their number."""
    found = list(_find_slices(ages, limit, columns))
    below, above = ages.sides(limit, NEAR)
    slices: Slices = {}
    for column, value, rows in found:
        slices.setdefault(column, {})[value] = {
            "false_acceptance_near": ages.accepted(rows & below, limit, 2 * len(found)),
            "false_rejection_near": ages.rejected(rows & above, limit, 2 * len(found)),
        }
    return slices


def _find_slices(ages: _Ages, limit: int, columns: dict[str, list[str]]) -> Iterator[tuple[str, str, Mask]]:
    sides = ages.sides(limit, NEAR)
    for column, cells in columns.items():
        array = np.asarray(cells)
        for value in sorted(set(cells) - {NOT_GIVEN}):
            rows = array == value
            if all(len(np.unique(ages.units[rows & side])) >= MIN_IDENTITIES for side in sides):
                yield column, value, rows


def _find_challenge(ages: _Ages, limit: int, target: float) -> ChallengeAge:
    """From the highest age down to the last one whose interval stays within the target."""
    near_below = ages.sides(limit, NEAR)[0]
    found = None
    for age in range(OLDEST, limit - 1, -1):
        if not ages.accepted(near_below, age).high <= target:  # NaN holds nothing
            break
        found = age
    if found is None:
        nothing = measure_rate(np.zeros(0, dtype=np.bool_), np.zeros(0, dtype=np.int64))
        return ChallengeAge(target, None, nothing, nothing, nothing)
    return _measure(ages, limit, target, found)


def _measure(ages: _Ages, limit: int, target: float, age: int) -> ChallengeAge:
    (near_below, near_above), (_, above) = ages.sides(limit, NEAR), ages.sides(limit)
    return ChallengeAge(
        target,
        age,
        ages.accepted(near_below, age),
        ages.rejected(near_above, age),
        ages.rejected(above, age),
    )
