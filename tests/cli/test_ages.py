import pytest

from threeages.cli.ages import SHOWN_PAIRS, print_gaps
from threeages.evaluation.slices import SliceAudit, SliceGap


def _gap(column: str, metric: str = "accuracy", low: float = 0.1, slices: int = 3) -> SliceGap:
    name = column.replace(" & ", "+")
    return SliceGap(column, metric, f"best-{name}", f"worst-{name}", 0.2, low, 0.3, 0.01, slices)


def test_every_column_is_shown_and_of_pairs_the_surest_alone(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [f"a & {i}" for i in range(SHOWN_PAIRS + 2)]
    gaps = [
        _gap("a", low=-0.1),
        _gap("b"),
        _gap("b", "balanced_accuracy"),
        _gap("c"),
        _gap("c", "balanced_accuracy", slices=2),  # of less slices than accuracy
        *(_gap(name, low=0.01 * i) for i, name in enumerate(pairs)),
    ]
    audit = SliceAudit({key: {} for key in "abc"}, {key: {} for key in pairs}, tuple(gaps), {"accuracy": 12})
    print_gaps(audit)
    shown = capsys.readouterr().out
    assert "30 identities or more" in shown
    assert "all 12 pairs" in shown
    rows = {line.split("│")[1].strip(): line for line in shown.splitlines() if line.startswith("│")}
    assert set(rows) == {"a", "b", "c", *pairs[2:]}
    assert ("balanced accuracy" in rows["b"], "balanced accuracy" in rows["c"]) == (True, False)
    assert "+0.200 [-0.100, +0.300]" in rows["a"]


def test_without_a_gap_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_gaps(SliceAudit({"a": {}}))
    assert capsys.readouterr().out == ""


def test_two_columns_that_say_the_same_are_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    same = SliceGap("x & y", "accuracy", "1 & 2", "3 & 4", 0.2, 0.1, 0.3, 0.01, 3)
    other = SliceGap("z & y", "accuracy", "1 & 2", "3 & 4", 0.2, 0.1, 0.3, 0.01, 3)
    print_gaps(SliceAudit({}, {"x & y": {}, "z & y": {}}, (same, other), {"accuracy": 2}))
    shown = capsys.readouterr().out
    assert "x & y" in shown
    assert "z & y" not in shown
