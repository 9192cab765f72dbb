import subprocess
import sys
from pathlib import Path

import pytest

from threeages.data.corrections import (
    Decision,
    add_decision,
    decide,
    digest_image,
    last_decisions,
    read_decisions,
)
from threeages.errors import DataError, ImageError

HEADER = "path,digest,old,new,decision,reviewer,time\n"
LINE = "a.jpg,00ff,YOUNG,OLD,corrected,ann,2026-01-01T00:00:00+00:00\n"


def _decision(path: str = "a.jpg", new: str = "OLD", reviewer: str = "ann") -> Decision:
    kind = "accepted" if new == "YOUNG" else "corrected" if new else "skipped"
    return Decision(path, "00ff", "YOUNG", new, kind, reviewer, "2026-01-01T00:00:00+00:00")


def test_what_is_added_is_read_and_stays(tmp_path: Path) -> None:
    csv = tmp_path / "c.csv"
    given = [_decision(), _decision("b, c.jpg", ""), _decision("a.jpg", "YOUNG", 'bo "b"')]
    for decision in given:
        add_decision(csv, decision)
    assert read_decisions(csv) == given


@pytest.mark.parametrize(("new", "kind"), [("YOUNG", "accepted"), ("OLD", "corrected"), ("", "skipped")])
def test_a_decision_says_who_when_and_of_which_picture(faces_dir: Path, new: str, kind: str) -> None:
    file = next(faces_dir.glob("*.jpg"))
    found = decide("x/a.jpg", file, "YOUNG", new, "ann")
    assert (found.path, found.old, found.new, found.decision) == ("x/a.jpg", "YOUNG", new, kind)
    assert found.digest == digest_image(file)
    assert found.time.endswith("+00:00")
    assert found.reviewer == "ann"


def test_an_image_that_is_gone_is_not_decided(tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        decide("a.jpg", tmp_path / "a.jpg", "YOUNG", "OLD", "ann")


def test_two_reviewers_at_once_lose_no_row(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from threeages.data.corrections import *\n"
        "for i in range(15):\n"
        "    d = Decision(f'{i}.jpg', 'ff', 'YOUNG', 'OLD', 'corrected', sys.argv[2], 'now')\n"
        "    add_decision(Path(sys.argv[1]), d)\n"
    )
    csv = tmp_path / "c.csv"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(csv), who]) for who in ("ann", "bo")]
    assert [process.wait() for process in processes] == [0, 0]
    rows = read_decisions(csv)
    for who in ("ann", "bo"):
        assert [row.path for row in rows if row.reviewer == who] == [f"{i}.jpg" for i in range(15)]


def test_a_file_that_cannot_be_written_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv = tmp_path / "c.csv"
    add_decision(csv, _decision())
    before = csv.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("threeages.files.atomic.flush_to_disk", fail)
    with pytest.raises(DataError, match="disk is full"):
        add_decision(csv, _decision("b.jpg"))
    assert csv.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.jpg,OLD\n", "no column digest"),
        (HEADER + LINE.replace("corrected", "maybe"), "line 2: The decision is 'maybe'"),
        (HEADER + LINE + LINE.replace("YOUNG", "BABY"), "line 3: The old label is 'BABY'"),
        (HEADER + LINE.replace("OLD", "YOUNG"), "was corrected as YOUNG"),
        (HEADER + LINE.replace("OLD", ""), "The new label"),
        (HEADER + LINE.replace("a.jpg", ""), "path or the digest is empty"),
        (HEADER + LINE + "b.jpg,00ff,YOU", "cut off"),
    ],
)
def test_a_damaged_file_is_refused_and_never_added_to(tmp_path: Path, text: str, message: str) -> None:
    csv = tmp_path / "c.csv"
    csv.write_text(text)
    with pytest.raises(DataError, match=message):
        add_decision(csv, _decision())
    assert csv.read_text() == text


def test_the_last_decision_of_each_reviewer_counts() -> None:
    given = [_decision(), _decision(new="YOUNG"), _decision(reviewer="bo")]
    assert last_decisions(given, {"a.jpg": 3}) == {3: {"ann": given[1], "bo": given[2]}}
