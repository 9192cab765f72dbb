import json
import math
from pathlib import Path

from threeages.evaluation.provenance import read_provenance
from threeages.evaluation.run_summary import RunSummary, read_run_summary

CONFIG = {
    "config": {"model": "cnn", "split": "identity", "seed": 7},
    "split": {"mode": "identity", "train": 90, "validation": 10, "test": 20, "sources": {"utkface": 90}},
}


def _read(folder: Path) -> RunSummary | None:
    return read_run_summary(folder, read_provenance(folder))


def test_everything_that_the_folder_says(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "environment.json").write_text(json.dumps({"python": "3.11"}))
    rows = "epoch,phase,train_loss,images_per_second,seconds\n1,head,0.7,100,1.5\n2,head,,120,2.5\n"
    (tmp_path / "metrics.csv").write_text(rows)
    found = _read(tmp_path)
    assert found is not None
    assert found.settings["model"] == "cnn"
    assert found.split == "identity-disjoint split"
    assert found.rows == {"train": 90, "validation": 10, "test": 20}
    assert [(terms.name, n) for terms, n in found.sources] == [("utkface", 90)]
    assert found.history[0] == {"epoch": 1, "train_loss": 0.7, "images_per_second": 100, "seconds": 1.5}
    assert "train_loss" not in found.history[1]
    assert (found.seconds, found.images_per_second) == (4, 120)
    assert found.environment == {"python": "3.11"}


def test_a_folder_without_a_run_has_none(tmp_path: Path) -> None:
    assert _read(tmp_path) is None


def test_damaged_files_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "environment.json").write_text("{")
    found = _read(tmp_path)
    assert found is not None
    assert found.environment == {}
    assert found.history == ()
    assert math.isnan(found.seconds)
    (tmp_path / "config.json").write_text("[1]")
    assert _read(tmp_path) is None


def test_corrected_labels_are_listed_by_part_and_file(tmp_path: Path) -> None:
    corrections = {"train": {"3fa2": 12, "b001": 1}, "validation": {}, "test": {"3fa2": 2}}
    content = {"config": CONFIG["config"], "split": CONFIG["split"] | {"corrections": corrections}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    found = _read(tmp_path)
    assert found is not None
    assert found.corrections == {"train": {"3fa2": 12, "b001": 1}, "test": {"3fa2": 2}}
