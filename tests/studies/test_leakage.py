from pathlib import Path

import pytest

from threeages.evaluation.identity_estimate import LIKELY, MEASURED
from threeages.files.csvfiles import read_csv
from threeages.studies import leakage

RESULTS = Path(__file__).parents[2] / "results" / "leakage.csv"


def test_every_share_answer_and_origin_is_written(faces_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "leakage.csv"
    settings = ("--name", "drawn", "--cache-dir", str(tmp_path / "cache"), "--out", str(out))
    leakage.main([str(faces_csv), *settings])
    rows = read_csv(out).rows
    values = {row["measure"]: float(row["value"]) for row in rows}
    assert values["share of test rows with the identity in train"] == 1.0
    assert (
        values["accuracy: majority per identity"]
        == values["accuracy in sample: majority per identity"]
        == 1.0
    )
    name = "majority per identity"
    assert values[f"gap: {name}"] == pytest.approx(1 - values[f"identities apart: {name}"], abs=1e-3)
    assert all(
        row["machine"] and row["date"] and row["seed"] == "42" and row["set"] == "drawn" for row in rows
    )
    leakage.main([str(faces_csv), *settings, "--every", "2"])
    assert {row["images"] for row in read_csv(out).rows} == {"120", "60"}


def test_the_quality_that_is_printed_is_the_one_measured() -> None:
    rows = [row for row in read_csv(RESULTS).rows if row["set"] == "film"]
    most = max((row for row in rows if "estimate" in row["measure"]), key=lambda row: int(row["images"]))[
        "images"
    ]
    found = {row["measure"]: float(row["value"]) for row in rows if row["images"] == most}
    for name, value in vars(MEASURED).items():
        assert found[f"estimate at {LIKELY:g}: {name}"] == value
