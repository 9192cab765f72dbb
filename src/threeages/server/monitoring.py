"""What the service watches while it answers: the risk on labels sent back, and drift; numbers only."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from threeages.evaluation.drift import SCORES, DriftMonitor
from threeages.evaluation.monitoring import RiskMonitor
from threeages.inference.records import OK, Record
from threeages.labels import AGE_GROUPS
from threeages.server.problems import RequestError
from threeages.server.schemas import LabelledAnswer, RiskResponse
from threeages.server.settings import Settings

ANSWERED = frozenset({OK, "uncertain"})  # a threshold's rejections have been answered by the model


class Monitoring:
    """The monitors of one service, as metrics in its registry; a restart begins both streams again.

    The risk is watched where the settings have a target error rate, drift where they have a histogram of
    answers to compare with.
    """

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        level = settings.alarm_level
        self._risk = None if settings.max_error is None else RiskMonitor(settings.max_error, level=level)
        self._drift = None if settings.reference is None else DriftMonitor(settings.reference, level=level)
        self._labels = Counter(
            "threeages_labels", "Labels sent back for answers.", ("result",), registry=registry
        )
        if self._risk:
            _add_risk(self._risk, registry)
        if self._drift:
            _add_drift(self._drift, registry)

    def watch_records(self, records: Sequence[Record]) -> None:
        """Count the answers of one request in the drift."""
        for record in records if self._drift else ():
            if self._drift and record.status in ANSWERED and record.probs:
                self._drift.update([record.probs[name] for name in AGE_GROUPS])

    def add_labels(self, answers: Sequence[LabelledAnswer]) -> RiskResponse:
        """Count answers with their labels in the risk, and return its state.

        Raises RequestError 409 where the service has no target error rate.
        """
        if self._risk is None:
            raise RequestError(
                409,
                "The service answers without a target error rate, so there is no threshold to watch.",
                hint="Start it with --max-error.",
            )
        for answer in answers:
            wrong = answer.age_group != answer.label
            self._risk.update(float(wrong))
            self._labels.labels("wrong" if wrong else "right").inc()
        state = self._risk.state
        return RiskResponse(
            n=state.n,
            risk=state.risk,
            target_error=state.target_error,
            level=state.level,
            e_value=state.e_value,
            alarm_at=state.alarm_at,
        )


def _add_risk(monitor: RiskMonitor, registry: CollectorRegistry) -> None:
    _gauge(
        "threeages_risk", "Share of errors among the labels so far; NaN without any.", registry
    ).set_function(lambda: monitor.state.risk)
    _gauge("threeages_risk_target", "Target error rate.", registry).set(monitor.state.target_error)
    _gauge("threeages_risk_e_value", "Evidence that the risk exceeds the target.", registry).set_function(
        lambda: monitor.state.e_value
    )
    _gauge("threeages_risk_alarm", "1 once the risk was found to exceed the target.", registry).set_function(
        lambda: monitor.state.alarm
    )


def _add_drift(monitor: DriftMonitor, registry: CollectorRegistry) -> None:
    _gauge("threeages_drift_answers", "Answers compared with the reference.", registry).set_function(
        lambda: monitor.state.n
    )
    values = Gauge("threeages_drift_e_value", "Evidence that answers differ.", ("score",), registry=registry)
    for name in SCORES:
        values.labels(name).set_function(lambda name=name: monitor.state.e_values[name])  # type: ignore[misc]
    _gauge("threeages_drift_alarm", "1 once the answers were found to differ.", registry).set_function(
        lambda: monitor.state.alarm
    )


def _gauge(name: str, text: str, registry: CollectorRegistry) -> Gauge:
    return Gauge(name, text, registry=registry)
