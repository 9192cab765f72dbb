"""Check the monitors: false alarms and delays in simulated streams, and thresholds on sources never met.

    python tools/monitor_check.py runs/unseen/predictions.csv

Simulated answers err with probability TARGET for BEFORE answers and with another from then on; the delay is
the number of answers from there to the alarm. A stream without a change has RUN answers. Answers of a
simulated drift are probabilities of a Dirichlet distribution, compared with REFERENCE others.

The predictions hold a column `held_out`: the source that the model of a row was trained without. The
threshold for each target is chosen on the other sources, and the source's identities are watched in an order
by SEED, which says whether the threshold holds there. Writes results/monitor.csv.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.evaluation.betting import LEVEL
from threeages.evaluation.drift import AnswerHistogram, DriftMonitor
from threeages.evaluation.monitoring import RiskMonitor
from threeages.evaluation.predictions import PredictionTable, load_predictions
from threeages.evaluation.replay import replay_table
from threeages.evaluation.thresholds import measure_thresholds
from threeages.evaluation.unseen import HELD_OUT
from threeages.studies.results import Row, create_parser, save_rows

SEED = 0
RUNS = 200
RUN = 1000
BEFORE = 500
TARGET = 0.1
RISKS = (0.15, 0.2, 0.3)
REFERENCE = 1000
USUAL = (2.0, 1.0, 1.0)
DRIFTED = {"older faces": (1.0, 1.0, 2.0), "surer answers": (0.8, 0.4, 0.4), "less sure": (4.0, 2.0, 2.0)}
TARGETS = (0.1, 0.15, 0.2)
COLUMNS = ("watched", "stream", "target", "n", "risk", "alarms", "median_delay", "e_value", "microseconds")
Floats = NDArray[np.float64]


def main() -> None:
    """Write a row for each kind of stream."""
    parser = create_parser(__doc__, Path("results/monitor.csv"))
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--runs", type=int, default=RUNS)
    args = parser.parse_args()
    table = load_predictions(args.predictions)
    rows = [*check_risk(args.runs), *check_drift(args.runs), *check_sources(table)]
    save_rows(args.out, [dict.fromkeys(COLUMNS, "") | row for row in rows])


def check_risk(runs: int) -> Iterator[Row]:
    """False alarms at the target itself, and the delay of each higher risk."""
    rng = np.random.default_rng(SEED)
    start = time.perf_counter()
    alarms = [_watch_errors(rng.random(RUN) < TARGET) for _ in range(runs)]
    spent = (time.perf_counter() - start) / runs / RUN * 1e6
    common = {"watched": "risk", "target": f"{TARGET:g}"}
    yield common | _summarize(alarms, 0) | {
        "stream": f"risk {TARGET:g} throughout", "n": str(RUN), "microseconds": f"{spent:.0f}"
    }  # fmt: skip
    for risk in RISKS:
        limits = np.repeat([TARGET, risk], [BEFORE, 4 * RUN])
        alarms = [_watch_errors(rng.random(len(limits)) < limits) for _ in range(runs // 4)]
        stream = f"risk {TARGET:g}, from {BEFORE} on {risk:g}"
        yield common | _summarize(alarms, BEFORE) | {"stream": stream, "n": str(len(limits))}


def check_drift(runs: int) -> Iterator[Row]:
    """False alarms without drift, and the delay of each kind of it."""
    rng = np.random.default_rng(SEED)
    alarms = [_watch_answers(rng, rng.dirichlet(USUAL, RUN)) for _ in range(runs // 2)]
    yield {"watched": "drift", "stream": "as the reference", "n": str(RUN)} | _summarize(alarms, 0)
    for name, weights in DRIFTED.items():
        parts = [np.concatenate([rng.dirichlet(USUAL, BEFORE), rng.dirichlet(weights, RUN)])
                 for _ in range(runs // 4)]  # fmt: skip
        found = _summarize([_watch_answers(rng, part) for part in parts], BEFORE)
        yield {"watched": "drift", "stream": f"from {BEFORE} on {name}", "n": str(BEFORE + RUN)} | found


def check_sources(table: PredictionTable) -> Iterator[Row]:
    """Each source at the thresholds of the others."""
    held_out = np.asarray(table.columns[HELD_OUT])
    for source in np.unique(held_out).tolist():
        others = measure_thresholds(table.take(np.flatnonzero(held_out != source)), by=HELD_OUT)
        mine = table.take(np.random.default_rng(SEED).permutation(np.flatnonzero(held_out == source)))
        for error in others.errors:
            if error.target_error in TARGETS and (mine.confidence[mine.scored()] >= error.confidence).any():
                state = replay_table(mine, error.target_error, error.confidence).risk
                yield {
                    "watched": "source never met", "stream": source, "target": f"{state.target_error:g}",
                    "n": str(state.n), "risk": f"{state.risk:.3f}", "e_value": f"{state.e_value:.3g}",
                    "alarms": "0" if state.alarm_at is None else "1",
                    "median_delay": "" if state.alarm_at is None else str(state.alarm_at),
                }  # fmt: skip


def _watch_errors(errors: NDArray[np.bool_]) -> int | None:
    monitor = RiskMonitor(TARGET, level=LEVEL)
    for error in errors.astype(float).tolist():
        monitor.update(error)
    return monitor.state.alarm_at


def _watch_answers(rng: np.random.Generator, probs: Floats) -> int | None:
    reference = AnswerHistogram.from_probs(rng.dirichlet(USUAL, REFERENCE))
    monitor = DriftMonitor(reference, level=LEVEL, seed=int(rng.integers(2**32)))
    for row in probs:
        monitor.update(row)
    return monitor.state.alarm_at


def _summarize(alarms: Sequence[int | None], change: int) -> Row:
    """The share of streams with an alarm, and the median delay of those after the change."""
    delays = [at - change for at in alarms if at is not None and at > change]
    share = np.mean([at is not None for at in alarms])
    median = f"{np.median(delays):.0f}" if change and delays else ""
    return {"alarms": f"{share:.3f}", "median_delay": median}


if __name__ == "__main__":
    main()
