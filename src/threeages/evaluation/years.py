"""Distributions over years beside predictions, and the temperature that calibrates them; plain numpy."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threeages.errors import DataError
from threeages.evaluation.conformal import compute_identity_weights
from threeages.evaluation.metrics import Floats, identity_codes
from threeages.evaluation.predictions import PredictionTable
from threeages.inference.brackets import LAST_YEAR, rescale_years
from threeages.inference.records import OK

DISTRIBUTION = "age_distribution"  # column: the model's distribution over years, before any temperature
YEARS_TEMPERATURE = "years_temperature"  # column: the temperature that the model's signature has for it
YEARS_COLUMNS = (DISTRIBUTION, YEARS_TEMPERATURE)
UNITS = 100_000  # a probability is stored in hundred-thousandths
TEMPERATURES = np.geomspace(0.5, 4.0, 84)
MIN_IDENTITIES = 20  # fewer say too little of a temperature


@dataclass(frozen=True)
class YearsCalibration:
    """The temperature of the distribution over years, and what it is worth.

    `nll` is the mean negative log-likelihood of the true year in nats over `n` rows, with every stratum
    weighing the same; `nll_before` that without a temperature. Both are of rows whose temperature was chosen
    on the others (cross-fitted).
    """

    n: int
    temperature: float
    nll_before: float
    nll: float

    @property
    def adopted(self) -> float:
        """The temperature where it is worth something on rows it was not fitted on, else 1."""
        return self.temperature if self.nll < self.nll_before else 1.0


def format_distribution(years: ArrayLike) -> str:
    """A distribution over the years 0 to 100, `(101,)`, as text: '17: 3 120 98777 1100'.

    The first year that has one, and hundred-thousandths from there on.
    """
    values = np.rint(rescale_years(np.asarray(years, dtype=np.float64), 1.0) * UNITS).astype(np.int64)
    known = np.flatnonzero(values)
    return f"{known[0]}: {' '.join(map(str, values[known[0] : known[-1] + 1]))}"


def parse_distribution(text: str) -> Floats:
    """Inverse of `format_distribution`, float64 `(101,)`, of shares that add up to anything above 0.

    A year whose share was rounded to 0 has half a unit. DataError for any other text.
    """
    first, colon, rest = text.partition(":")
    try:
        start, values = int(first), np.array([int(value) for value in rest.split()], dtype=np.float64)
    except ValueError:
        start, values = -1, np.empty(0)
    fits = colon and start >= 0 and start + len(values) <= LAST_YEAR + 1
    if not (fits and values.any() and values.min() >= 0):
        raise DataError(
            f"The {DISTRIBUTION} is '{text[:40]}'.",
            hint="Give a first year and shares from there on, such as '17: 3 120 9870 7', or no column.",
        )
    years = np.full(LAST_YEAR + 1, 0.5)
    years[start : start + len(values)] = np.maximum(values, 0.5)
    return rescale_years(years, 1.0)


def read_distributions(table: PredictionTable, *, calibrated: bool = True) -> Floats:
    """Distributions over years of every row, float64 `(n, 101)`; NaN where there is none.

    `calibrated` applies the temperature in the column `years_temperature`. DataError, which names the image,
    where a text is no distribution.
    """
    found = np.full((len(table), LAST_YEAR + 1), np.nan)
    for i, text in enumerate(table.columns.get(DISTRIBUTION, ())):
        if text:
            try:
                found[i] = parse_distribution(text)
            except DataError as error:
                raise DataError(f"{table.paths[i]}: {error.message}", hint=error.hint) from error
    temperatures = table.numbers(YEARS_TEMPERATURE)
    for temperature in np.unique(temperatures[temperatures > 0]) if calibrated else ():
        rows = temperatures == temperature
        found[rows] = rescale_years(found[rows], float(temperature))
    return found


def describe_years(texts: Iterable[str], temperature: float = 1.0) -> dict[str, tuple[str, ...]]:
    """The columns of distributions over years as text, '' where there is none; without any no columns."""
    cells = tuple(texts)
    if not any(cells):
        return {}
    columns = {DISTRIBUTION: cells}
    if temperature != 1:
        columns[YEARS_TEMPERATURE] = tuple(str(temperature) if text else "" for text in cells)
    return columns


def measure_years_calibration(
    table: PredictionTable, *, by: str | None = None, folds: int = 5, seed: int = 0
) -> YearsCalibration | None:
    """The temperature of least log loss over the rows whose age is one year and that have a distribution.

    Each identity weighs the same, and each value of the column `by`. What it is worth is measured on the
    other values of `by`, or without it in folds of identities. None with less than 20 identities. The column
    `years_temperature` is not looked at: the temperature replaces it. Source: Guo et al. (2017).
    """
    years, ages = read_distributions(table, calibrated=False), np.rint(table.ages())
    answered = np.asarray([status == OK for status in table.status])
    rows = answered & np.isfinite(years[:, 0]) & (ages <= LAST_YEAR)
    known = table.identities()
    identities = np.arange(rows.sum()) if known is None else identity_codes(known[rows])
    if len(np.unique(identities)) < MIN_IDENTITIES:
        return None
    strata = np.asarray(table.columns[by])[rows] if by else None
    losses = _losses(years[rows], ages[rows].astype(np.int64))
    weights = compute_identity_weights(identities, len(losses), strata)
    parts = _parts(identities, strata, folds, seed)
    chosen = _cross_fitted(losses, weights, parts)
    before = losses[:, int(np.argmin(np.abs(np.log(TEMPERATURES))))]
    return YearsCalibration(
        int(rows.sum()),
        round(float(TEMPERATURES[_best(losses, weights)]), 3),
        float(np.average(before, weights=weights)),
        float(np.average(chosen, weights=weights)),
    )


def _losses(years: Floats, ages: NDArray[np.int64]) -> Floats:
    """Negative log-likelihood of each row's age by temperature `(n, temperatures)`."""
    logs = np.log(years)
    columns = []
    for temperature in TEMPERATURES:
        scaled = logs / temperature
        total = np.log(np.exp(scaled - scaled.max(axis=1, keepdims=True)).sum(axis=1)) + scaled.max(axis=1)
        columns.append(total - scaled[np.arange(len(ages)), ages])
    return np.stack(columns, axis=1)


def _parts(
    identities: NDArray[np.int64], strata: NDArray[np.str_] | None, folds: int, seed: int
) -> NDArray[np.int64]:
    if strata is not None and len(np.unique(strata)) > 1:
        return identity_codes(strata)
    count = int(identities.max()) + 1
    return np.asarray((np.random.default_rng(seed).permutation(count) % folds)[identities])


def _cross_fitted(losses: Floats, weights: Floats, parts: NDArray[np.int64]) -> Floats:
    """Loss of each row with the temperature that is best on the other parts."""
    found = np.empty(len(losses))
    for part in np.unique(parts):
        own = parts == part
        found[own] = losses[own, _best(losses[~own], weights[~own])]
    return found


def _best(losses: Floats, weights: Floats) -> int:
    return int(np.argmin(weights @ losses))
