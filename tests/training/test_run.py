import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from threeages.data.manifest import Manifest, load_manifest
from threeages.data.merge import merge_manifests
from threeages.data.split import Split
from threeages.data.synthetic import write_face_set
from threeages.data.train_digests import load_train_digests
from threeages.errors import ConfigError, DataError, ThreeAgesError
from threeages.evaluation.evaluate import evaluate_table
from threeages.evaluation.trained_on import mark_rows
from threeages.labels import UNKNOWN
from threeages.training.build import drop_missing_heads
from threeages.training.checkpoint import load_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.recipes import create_recipe
from threeages.training.run import describe_split, run_training
from threeages.training.temperature import TEMPERATURES

SMALL = TrainConfig(input_size=64, epochs=3, batch_size=16)


def _train(faces_csv: Path, run: Path, config: TrainConfig = SMALL, **more: Any):  # type: ignore[no-untyped-def]
    return run_training(load_manifest(faces_csv), config, run, cache_dir=run.parent / "cache", **more)


def _stop(_: object) -> None:
    raise KeyboardInterrupt


def _split_notes(run: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((run / "config.json").read_text())["split"]
    return found


@pytest.mark.slow
def test_it_learns_what_holds_for_held_out_identities(tmp_path: Path) -> None:
    larger = write_face_set(tmp_path / "faces", identities=60, per_identity=6)
    table = _train(larger, tmp_path / "run", replace(SMALL, epochs=8))
    assert evaluate_table(table).metrics["accuracy"] > 0.6  # one in three by chance
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names >= {"best.ckpt", "last.ckpt", "metrics.csv", "curves.png", "config.json", "environment.json"}


def test_a_stopped_training_resumes_to_the_same_weights(faces_csv: Path, tmp_path: Path) -> None:
    _train(faces_csv, tmp_path / "whole")
    run = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        _train(faces_csv, run, log=_stop)
    assert len((run / "metrics.csv").read_text().splitlines()) == 2
    _train(faces_csv, run)
    assert len((run / "metrics.csv").read_text().splitlines()) == 1 + SMALL.epochs
    states = [load_checkpoint(tmp_path / name / "last.ckpt")[0].state_dict() for name in ("whole", "stopped")]
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value), name


def test_a_loss_that_is_not_finite_names_the_step(faces_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(ThreeAgesError, match=r"(?s)step.*lower --lr.*another --out"):
        _train(faces_csv, tmp_path / "run", replace(SMALL, lr=1e30))


def test_another_configuration_is_not_written_over(faces_csv: Path, tmp_path: Path) -> None:
    _train(faces_csv, tmp_path / "run", replace(SMALL, epochs=1))
    with pytest.raises(ConfigError, match="another configuration: epochs is 1 there, 2 here"):
        _train(faces_csv, tmp_path / "run", replace(SMALL, epochs=2))


def test_a_run_is_repeated_from_its_folder_alone(faces_csv: Path, tmp_path: Path) -> None:
    config = replace(SMALL, epochs=1, augmented_copies=2, options={"filters": (8, 8, 8, 8), "dense": 16})
    first = _train(faces_csv, tmp_path / "first", config)
    again = create_recipe(str(tmp_path / "first"))
    second = _train(faces_csv, tmp_path / "second", again)
    np.testing.assert_array_equal(first.probs, second.probs)
    _train(faces_csv, tmp_path / "first", config)  # a tuple is a list in json: the same settings still


def test_epochs_are_logged_and_bars_are_on_stderr(
    faces_csv: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="threeages")
    _train(faces_csv, tmp_path / "run", replace(SMALL, epochs=2))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "images/s" in captured.err
    records = [r for r in caplog.records if r.name.startswith("threeages.") and r.levelno == logging.INFO]
    lines = [r.getMessage() for r in records]  # warnings say what a side of the split lacks
    assert [line.split()[:4] for line in lines] == [["epoch", str(i), "phase", "train"] for i in (1, 2)]


@pytest.mark.slow
def test_the_notes_say_what_of_the_test_rows_the_training_saw(faces_csv: Path, tmp_path: Path) -> None:
    _train(faces_csv, tmp_path / "identity", replace(SMALL, epochs=1))
    found = _split_notes(tmp_path / "identity")
    assert (found["mode"], found["shared_identities"], found["selected_on_test"]) == ("identity", 0, False)
    assert (found["leaked_duplicates"], sum(found[k] for k in ("train", "validation", "test"))) == (0, 120)  # type: ignore[misc]
    _train(faces_csv, tmp_path / "random", replace(SMALL, epochs=1, split="random"))
    found = _split_notes(tmp_path / "random")
    assert found["mode"] == "random"
    assert found["shared_identities"] > 10  # type: ignore[operator]
    assert found["selected_on_test"] is True
    _train(faces_csv, tmp_path / "last", replace(SMALL, epochs=1, split="random", keep_last=True))
    assert _split_notes(tmp_path / "last")["selected_on_test"] is False


def test_the_notes_count_corrected_labels_by_side_and_file() -> None:
    columns = {"corrected_from": ("OLD", "", "OLD", "YOUNG"), "corrections": ("aa", "", "aa", "bb")}
    manifest = Manifest(Path(), tuple("abcd"), np.zeros(4, dtype=np.int64), columns)
    split = Split(np.asarray([0, 1]), np.asarray([2]), np.asarray([3]), 0)
    found = describe_split(manifest, split, SMALL)["corrections"]
    assert found == {"train": {"aa": 1}, "validation": {"aa": 1}, "test": {"bb": 1}}
    plain = Manifest(Path(), manifest.paths, manifest.labels)
    assert "corrections" not in describe_split(plain, split, SMALL)


def test_without_identities_only_a_random_split_can_be_made(faces_csv: Path, tmp_path: Path) -> None:
    manifest = load_manifest(faces_csv)
    nameless = Manifest(manifest.root, manifest.paths, manifest.labels)
    with pytest.raises(DataError, match="--split random"):
        run_training(nameless, SMALL, tmp_path / "run", cache_dir=tmp_path / "cache")
    config = replace(SMALL, epochs=1, split="random")
    assert run_training(nameless, config, tmp_path / "run", cache_dir=tmp_path / "cache") is not None
    assert _split_notes(tmp_path / "run")["shared_identities"] is None


def test_heads_without_a_column_are_dropped_with_a_warning(
    faces_csv: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = load_manifest(faces_csv)
    gender = ("F", *("M",) * (len(manifest) - 1))
    ageless = Manifest(manifest.root, manifest.paths, manifest.labels, {"gender": gender})
    config = replace(SMALL, extra_heads={"years": 0.5, "gender": 0.1})
    assert drop_missing_heads(config, manifest).extra_heads == {"years": 0.5}
    caplog.clear()
    assert drop_missing_heads(config, ageless).extra_heads == {"gender": 0.1}
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "no column age" in record.getMessage()


@pytest.mark.slow
def test_a_fixed_recipe_keeps_its_last_epoch_and_is_calibrated(tmp_path: Path) -> None:
    """Faces with groups and faces with years, none of which has an identity, train one model."""
    known = load_manifest(write_face_set(tmp_path / "known", identities=30, per_identity=4))
    alone = load_manifest(write_face_set(tmp_path / "alone", identities=30, per_identity=2, seed=1))
    ages = {"age": tuple(str(15 + 20 * int(label)) for label in alone.labels)}
    unlabelled = Manifest(alone.root, alone.paths, np.full(len(alone), UNKNOWN), ages)
    config = replace(SMALL, extra_heads={"years": 0.5}, keep_last=True, calibrate=True, epochs=4)
    table = run_training(
        merge_manifests({"known": known, "alone": unlabelled}),
        config,
        tmp_path / "run",
        cache_dir=tmp_path / "c",
    )
    assert table is not None
    assert {"predicted_age", "predicted_low", "predicted_high"} <= set(table.columns)
    assert (table.where("source", "alone").labels == UNKNOWN).all()
    model, _ = load_checkpoint(tmp_path / "run")
    last, _ = load_checkpoint(tmp_path / "run" / "last.ckpt")
    assert model.signature.temperature in TEMPERATURES
    assert last.signature.temperature == 1
    for name, value in last.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)


def test_a_random_split_sets_no_temperature_on_its_test_rows(faces_csv: Path, tmp_path: Path) -> None:
    config = replace(SMALL, epochs=1, split="random", calibrate=True, temperature=1.3)
    _train(faces_csv, tmp_path / "run", config)
    assert load_checkpoint(tmp_path / "run")[0].signature.temperature == 1.3


def test_the_run_tells_its_train_rows_from_all_others(faces_csv: Path, tmp_path: Path) -> None:
    config = replace(SMALL, epochs=1, input_size=48)
    manifest = load_manifest(faces_csv)
    tested = _train(faces_csv, tmp_path / "run", config)
    digests = load_train_digests(tmp_path / "run")
    assert digests is not None
    cells = dict(zip(manifest.paths, mark_rows(manifest, digests).columns["trained_on"], strict=True))
    notes = _split_notes(tmp_path / "run")
    assert list(cells.values()).count("image") == notes["train"]
    assert {cells[path] for path in tested.paths} == {"no"}
    assert set(cells.values()) == {"image", "no"}  # an identity is on one side
    before = (tmp_path / "run" / "train_digests.json").read_bytes()
    _train(faces_csv, tmp_path / "run", config)
    assert (tmp_path / "run" / "train_digests.json").read_bytes() == before


def test_a_random_split_is_warned_of_before_the_first_epoch(
    faces_csv: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(faces_csv, tmp_path / "run", replace(SMALL, input_size=48, split="random"), log=_stop)
    assert "identities are in both train and test rows. The accuracy may reward" in caplog.text
