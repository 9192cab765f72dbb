from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from PIL import Image

from threeages.data.manifest import load_manifest
from threeages.errors import ConfigError, DataError
from threeages.studies.recipes import create_recipe
from threeages.studies.tune import FILTERS, Search, run_search, suggest
from threeages.training.config import TrainConfig


def test_the_space_is_that_of_the_study() -> None:
    study = optuna.create_study()
    for _ in range(20):
        settings = suggest(study.ask())
        assert settings["optimizer"] in {"adam", "rmsprop"}
        assert 256 <= settings["options"]["dense"] <= 1024
        assert set(settings["options"]["kernels"]) <= {3, 5}
        for width, (low, high) in zip(settings["options"]["filters"], FILTERS, strict=True):
            assert low <= width <= high


@pytest.mark.slow
def test_it_resumes_from_its_storage_in_several_processes_and_writes_a_recipe(
    faces_csv: Path, tmp_path: Path
) -> None:
    base = TrainConfig(input_size=96, epochs=1, split="identity", batch_size=64)
    search = Search(load_manifest(faces_csv), tmp_path, base, 1, 1, tmp_path / "cache")
    first = run_search(search)
    best = run_search(replace(search, trials=3, processes=2))
    rows = (tmp_path / "search.csv").read_text().splitlines()
    assert 3 <= len(rows) - 1 <= 4  # two processes that ask at once may go over by one
    values = [float(row.split(",")[2]) for row in rows[1:] if row.split(",")[1] == "COMPLETE"]
    study = optuna.load_study(study_name="threeages", storage=f"sqlite:///{tmp_path / 'search.db'}")
    assert study.best_value == max(values)
    assert best.options == study.best_trial.user_attrs["settings"]["options"]
    assert (
        first.options == study.trials[0].user_attrs["settings"]["options"]
    )  # the only one of the first start
    assert create_recipe(str(tmp_path / "best.json")) == best
    with Image.open(tmp_path / "search.png") as image:
        assert image.width > 500
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("tmp")]


def test_a_recipe_that_is_none_is_explained(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"model": "cnn", "colour": 1}')
    with pytest.raises(ConfigError, match="colour"):
        create_recipe(str(tmp_path / "r.json"))


@pytest.mark.parametrize(
    ("label", "words"), [(-1, "None of 120 rows has a label"), (0, "Every labelled row is YOUNG")]
)
def test_labels_are_checked_before_the_first_trial(
    faces_csv: Path, tmp_path: Path, label: int, words: str
) -> None:
    manifest = load_manifest(faces_csv)
    manifest = replace(manifest, labels=np.full(len(manifest), label))
    with pytest.raises(DataError, match=words):
        run_search(Search(manifest, tmp_path / "out", TrainConfig(input_size=96, epochs=1), 1))
    assert not (tmp_path / "out").exists()
