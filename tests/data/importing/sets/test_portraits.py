import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from threeages.data.importing.sources import ImportResult
from threeages.labels import UNKNOWN

DATA = Path(os.environ.get("THREEAGES_DATA", "../shared/data"))
ROWS = (
    "path,person,age,age_how,age_low,age_high,source",
    "images/0.jpg,q0,25,recorded,,,appa-real",
    "images/1.jpg,q1,54,service-range,50,56,us-congress",
    "images/2.jpg,q1,57,service-range,53,60,lfw",
    "images/3.jpg,q2,,,,,uk-parliament",
    "images/4.jpg,q3,40,withheld,38,44,lfw",
    "images/5.jpg,q4,8,recorded,,,appa-real",
    "images/6.jpg,q5,40,recorded,,,appa-real",
    "../7.jpg,q6,40,recorded,,,appa-real",
    "images/8.jpg,q7,40,recorded,60,50,lfw",
)
NAMES = [f"images/{i}.jpg" for i in (0, 1, 2, 3, 4, 5, 8)]
Cells = tuple[int, str, str, str]


@pytest.fixture
def result(write_set: Callable[..., Path], load: Callable[..., ImportResult]) -> ImportResult:
    return load(write_set(NAMES, {"portraits.csv": "\n".join(ROWS) + "\n"}))


def test_years_ranges_and_faces_without_an_age(result: ImportResult) -> None:
    columns = result.manifest.columns
    cells = {
        path: (int(label), columns["age"][i], columns["age_low"][i], columns["age_high"][i])
        for i, (path, label) in enumerate(zip(result.manifest.paths, result.manifest.labels, strict=True))
    }
    assert result.kind == "portraits"
    assert cells == {
        "images/0.jpg": (0, "25", "", ""),
        "images/1.jpg": (UNKNOWN, "54", "50", "56"),
        "images/2.jpg": (2, "57", "53", "60"),
        "images/3.jpg": (UNKNOWN, "", "", ""),
        "images/4.jpg": (UNKNOWN, "", "", ""),  # withheld: nothing to learn from or to measure by
        "images/8.jpg": (1, "40", "60", "50"),  # the range is none
    }
    assert columns["age_how"][4] == "withheld"
    assert columns["source"] == ("appa-real", "us-congress", "lfw", "uk-parliament", "lfw", "lfw")
    assert columns["identity"] == ("q0", "q1", "q1", "q2", "q3", "q7")
    assert result.excluded == {"under_13": 1, "missing": 1, "outside_root": 1}


def test_children_are_kept_when_asked_for(
    result: ImportResult, load: Callable[..., ImportResult], tmp_path: Path
) -> None:
    kept = load(tmp_path / "set", children=True).manifest
    assert len(kept) == len(result.manifest) + 1
    assert kept.columns["age"][kept.paths.index("images/5.jpg")] == "8"


@pytest.mark.realdata
@pytest.mark.skipif(not (DATA / "portraits").is_dir(), reason=f"the research data is not at {DATA}")
def test_the_portraits_are_imported_whole(load: Callable[..., ImportResult]) -> None:
    result = load(DATA / "portraits", children=True)
    assert result.excluded == {}
    assert len(set(result.manifest.columns["source"])) == 6
    assert Counter(result.manifest.labels.tolist())[UNKNOWN] < len(result.manifest) / 2
    how = zip(result.manifest.columns["age_how"], result.manifest.labels.tolist(), strict=True)
    assert {label for found, label in how if found == "withheld"} == {UNKNOWN}
