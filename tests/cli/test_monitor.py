import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from threeages.cli.main import app
from threeages.errors import ConfigError
from threeages.evaluation.predictions import PredictionTable, save_predictions
from threeages.files.checksums import checksum
from threeages.inference.records import OK
from threeages.inference.runtime import OnnxModel, default_model_path


def _save(path: Path, risk: float, n: int = 600) -> Path:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    top = 0.5 + 0.5 * rng.random(n)
    probs = np.repeat((1 - top)[:, None] / 2, 3, axis=1)
    probs[np.arange(n), np.where(rng.random(n) < risk, (labels + 1) % 3, labels)] = top
    names = {"identity": tuple(f"p{i}" for i in range(n))}
    save_predictions(
        PredictionTable(tuple(map(str, range(n))), labels, (OK,) * n, probs, probs.max(axis=1), names), path
    )
    return path


def _monitor(*words: object) -> Result:
    return CliRunner().invoke(app, ["monitor", *map(str, words)])


def test_a_threshold_that_holds_and_one_that_does_not(tmp_path: Path) -> None:
    good = _monitor(_save(tmp_path / "good.csv", 0.05), "--target-error", 0.1, "--min-confidence", 0.6)
    assert good.exit_code == 0, good.output
    assert "none" in good.stdout
    assert "Warning" not in good.stdout
    result = tmp_path / "bad.json"
    bad = _monitor(
        _save(tmp_path / "bad.csv", 0.4), "--target-error", 0.1, "--min-confidence", 0.6, "--out", result
    )
    assert bad.exit_code == 1
    assert "they erred more often than 0.1" in bad.stdout
    found = json.loads(result.read_text())
    assert 0 < found["risk"]["alarm_at"] < 100
    assert (found["drift"], found["min_confidence"]) == (None, 0.6)


def test_the_models_threshold_is_the_default(tmp_path: Path) -> None:
    bound = OnnxModel(default_model_path()).signature.confidence_for(0.15)
    found = _monitor(_save(tmp_path / "a.csv", 0.05), "--target-error", 0.15, "--model", "default")
    assert f"a confidence of {bound:.3f} or more" in found.stdout


def test_without_a_model_the_one_that_the_predictions_are_of_is_asked(tmp_path: Path) -> None:
    """An evaluation records what answered; of predictions that name none the default is not assumed."""
    path = _save(tmp_path / "predictions.csv", 0.05)
    refused = _monitor(path, "--target-error", 0.15)
    assert isinstance(refused.exception, ConfigError)
    assert "name no model" in refused.exception.message
    assert "--model" in refused.exception.hint
    assert "--min-confidence" in refused.exception.hint
    about = {"model": "default", "model_checksum": checksum(default_model_path())}
    (tmp_path / "metrics.json").write_text(json.dumps(about))
    bound = OnnxModel(default_model_path()).signature.confidence_for(0.15)
    for given in (path, tmp_path):
        assert f"a confidence of {bound:.3f} or more" in _monitor(given, "--target-error", 0.15).stdout


@pytest.mark.parametrize(
    ("option", "value"),
    [(name, value) for name in ("--target-error", "--level") for value in ("0", "1", "-1", "nan", "inf")]
    + [("--min-confidence", value) for value in ("-0.1", "2", "nan", "inf")],
)
def test_numbers_are_checked_before_a_file_is_read(option: str, value: str, tmp_path: Path) -> None:
    given = {"--target-error": "0.1", option: value}
    done = _monitor(tmp_path / "none.csv", *(word for pair in given.items() for word in pair))
    assert done.exit_code == 2
    assert option in done.stderr
    assert "none.csv" not in done.stderr


def test_drift_is_found_beside_the_thresholds_file(tmp_path: Path) -> None:
    """The file that 'threeages thresholds' writes, and the predictions that it was written from, both do."""
    calibration = _save(tmp_path / "calibration.csv", 0.05)
    thresholds = tmp_path / "thresholds.json"
    written = CliRunner().invoke(app, ["thresholds", str(calibration), "--out", str(thresholds)])
    assert written.exit_code == 0, written.output
    for reference in (thresholds, calibration):
        common = ("--target-error", 0.1, "--min-confidence", 0.6, "--reference", reference)
        assert _monitor(calibration, *common).exit_code == 0
        sure = tmp_path / "sure.csv"
        rows = calibration.read_text().splitlines()
        head, body = rows[0], [row for row in rows[1:] if float(row.split(",")[7]) > 0.85]
        sure.write_text("\n".join([head, *body, ""]))
        found = _monitor(sure, *common)
        assert found.exit_code == 1
        assert "drift of confidence" in found.stdout
        assert "differ from those of the calibration set" in found.stdout


def test_rows_without_identities_are_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "peer.csv"
    path.write_text("path,label,prob_young,prob_middle,prob_old\n" + "a,YOUNG,1,0,0\n")
    assert "named" not in _monitor(path, "--target-error", 0.1, "--min-confidence", 0).stdout
    assert (
        "each row counted as an identity"
        in _monitor(path, "--target-error", 0.1, "--min-confidence", 0).stdout
    )


def test_a_target_that_the_model_was_not_measured_for_names_those_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from threeages.cli.main import main

    path = _save(tmp_path / "a.csv", 0.05)
    monkeypatch.setattr(
        sys, "argv", ["threeages", "monitor", str(path), "--target-error", "0.001", "--model", "default"]
    )
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "Measured:" in capsys.readouterr().err
