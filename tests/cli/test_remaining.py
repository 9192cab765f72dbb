from collections.abc import Iterator
from itertools import count

import pytest

from threeages.cli.remaining import Remaining, describe_progress, format_seconds


@pytest.mark.parametrize(
    ("total", "line"),
    [
        (60_000, "12,000 of 60,000 images, 100.0 a second, 0:08:00 left"),
        (None, "12,000 images, 100.0 a second"),
        (11_000, "12,000 images, 100.0 a second"),
    ],
)
def test_a_line_says_what_is_known(total: int | None, line: str) -> None:
    assert describe_progress(12_000, 2_000, total, 20.0) == line


def test_what_was_answered_before_does_not_count_for_the_speed() -> None:
    assert "0:00:10 left" in describe_progress(90, 10, 100, 10.0)
    assert describe_progress(0, 0, 10, 0.0) == "0 of 10 images, 0.0 a second"


def test_seconds_are_written_as_hours() -> None:
    assert format_seconds(3723.4) == "1:02:03"


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    ticks: Iterator[int] = count(step=1)
    progress = Remaining(lambda: None, clock=lambda: float(next(ticks)))
    for done in range(65):
        progress.show(done, done)
    progress.close()
    assert len(capsys.readouterr().err.splitlines()) == 2
