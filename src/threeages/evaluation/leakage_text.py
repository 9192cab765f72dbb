"""A leakage report in plain words, and its files."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from threeages.data.leakage.sides import Shared
from threeages.data.manifest import IDENTITY, Manifest
from threeages.evaluation.enough import TOO_FEW
from threeages.evaluation.gap import AgeBlind
from threeages.evaluation.identity_estimate import EstimateQuality
from threeages.evaluation.leakage import Estimate, LeakageReport
from threeages.evaluation.tables import format_number
from threeages.files.csvfiles import format_rows
from threeages.files.writing import format_json, write_together

DOUBTFUL = 0.05  # a share of test rows from which on the estimate from faces is worth a warning
NOTABLE = 0.01  # a share from which on the verdict is that a split leaks, where no limit is given
ANSWER, ACCURACY, GAP = "answer that never looks at age", "accuracy", "gap"
APART = {IDENTITY: "identities apart", "estimate": "estimated identities apart"}  # by what was compared
JSON, CSV = "leakage.json", "leakage.csv"
SHARES = {"copies": "copies", IDENTITY: "identities on both sides", "gap": "the gap in accuracy"}


def judge_leakage(report: LeakageReport, limit: float = NOTABLE) -> str:
    """The verdict, a sentence or two."""
    if report.find_excess(limit):
        return (
            "This split leaks: a score on its test rows measures in part what a model remembers of the train "
            "rows, and says little of new people."
        )
    if report.too_few:
        return f"No leakage was found, which says little. {report.too_few}"
    if report.estimate and report.estimate.share >= DOUBTFUL and not report.named:
        return "This split may leak: faces in the test rows look like those of persons in the train rows."
    if not report.named:
        return "No leakage was found, but who is shown is not known: more may be there."
    return "No leakage was found."


def describe_leakage(report: LeakageReport) -> Iterator[str]:
    """What was found, a sentence each, the certain before the likely; then what to do."""
    yield _describe_copies(report)
    yield from map(_describe_shared, report.shared)
    for name in report.oversampled:
        yield (
            f"Images of {name} were repeated before the split: {report.repeats[name].share:.1%} of its rows "
            "repeat an image. Split first, then repeat train rows only."
        )
    if report.largest_gap:
        yield _describe_gap(report.largest_gap, report.compared)
    if report.estimate:
        yield _describe_estimate(report.estimate)
    yield from filter(None, (report.too_few, *report.notes))


def describe_excess(report: LeakageReport, limit: float) -> str:
    """Which shares are above the limit, such as 'copies 0.120, the gap in accuracy 0.331'; '' for none."""
    found = report.find_excess(limit)
    return ", ".join(f"{SHARES[name]} {share:.3f}" for name, share in found.items())


def list_header(report: LeakageReport) -> list[str]:
    """What the cells of `list_answers` are; identities that were not kept apart have no column."""
    return [ANSWER, ACCURACY, *((APART[report.compared], GAP) if report.compared else ())]


def list_answers(report: LeakageReport) -> list[list[str]]:
    """A row for every answer, with 95 % intervals; those of the gaps hold for all answers at once."""
    return [list(_list_cells(answer, report)) for answer in report.answers]


def _list_cells(answer: AgeBlind, report: LeakageReport) -> Iterator[str]:
    few = bool(report.too_few)
    yield answer.name
    yield _bounded(answer.accuracy, answer.interval, few)
    if report.compared:
        yield _bounded(answer.apart, answer.apart_interval, few)
        yield _bounded(answer.gap, answer.gap_interval, few)


def write_leakage(report: LeakageReport, manifest: Manifest, out: Path) -> None:
    """Write `leakage.json`, and `leakage.csv` with the paths of every copy, into `out`; raises DataError."""
    rows = (
        {"kind": copy.kind, "test": manifest.paths[copy.test], "train": manifest.paths[copy.train]}
        for copy in report.copies
    )
    content = format_rows(rows, ("kind", "test", "train"))
    found = format_json(summarize_leakage(report))
    write_together({out / CSV: content.encode(), out / JSON: found.encode()})


def summarize_leakage(report: LeakageReport, limit: float = NOTABLE) -> dict[str, Any]:
    """Plain values for JSON: the verdict, what was found in sentences, and the figures."""
    words = {
        "verdict": judge_leakage(report, limit),
        "findings": list(describe_leakage(report)),
        "answers_header": list_header(report),
    }
    return {**words, **report.to_dict()}


def _describe_copies(report: LeakageReport) -> str:
    exact = sum(copy.kind == "exact" for copy in report.copies)
    near = len(report.copies) - exact
    share = len(report.copies) / report.n_test
    return (
        f"Copies: {len(report.copies):,} of {report.n_test:,} test rows ({share:.1%}) show an image of the "
        f"train rows: {exact:,} exact, {near:,} near duplicates."
    )


def _describe_shared(shared: Shared) -> str:
    named = shared.column == IDENTITY
    title, one = ("Identities", "an identity") if named else (f"Column {shared.column}", "a value")
    return (
        f"{title}: {shared.rows:,} of {shared.n:,} test rows ({shared.share:.1%}) have {one} of the "
        f"train rows; {shared.values:,} of {shared.known:,} are on both sides."
    )


def _describe_gap(answer: AgeBlind, compared: str) -> str:
    kept = "with identities kept apart" if compared == IDENTITY else "without train faces that are alike"
    worth = "is" if compared == IDENTITY else "may be"
    return (
        f"Gap: '{answer.name}' never looks at age and reaches {answer.accuracy:.3f} here, but "
        f"{answer.apart:.3f} {kept}: {answer.gap:.3f} {worth} what the split gives away."
    )


def _describe_estimate(estimate: Estimate) -> str:
    here = f" On this manifest's identities: {_quality(estimate.here)}." if estimate.here else ""
    return (
        f"Estimate from faces: {estimate.share:.1%} of the test rows likely show a person of the train rows. "
        f"It names nobody and can err. On the film faces: {_quality(estimate.measured)}.{here}"
    )


def _quality(quality: EstimateQuality) -> str:
    return f"purity {format_number(quality.purity)}, recall {format_number(quality.recall)}"


def _bounded(value: float | None, bounds: tuple[float, float] | None, few: bool) -> str:
    """A value with its interval, or with the words that there is too little to tell."""
    if value is None or bounds is None:
        return ""
    if math.isfinite(bounds[0]):
        return f"{value:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"
    return f"{value:.3f} ({TOO_FEW})" if few else f"{value:.3f}"
