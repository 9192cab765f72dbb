import multiprocessing
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from PIL import Image

from threeages.data.manifest import Manifest, load_manifest
from threeages.errors import ConfigError, DataError, ThreeAgesError
from threeages.files.locks import BusyError, hold_folder
from threeages.studies import tune
from threeages.studies.recipes import create_recipe
from threeages.studies.tune import FILTERS, Search, run_search, run_trial, suggest
from threeages.training.build import open_data
from threeages.training.config import TrainConfig
from threeages.training.loop import train_epochs

SMALL = ((4, 36), (4, 36), (4, 36), (4, 36))  # filters of networks that train in a moment
RESULTS = ("search.csv", "best.json")
BASE = TrainConfig(input_size=80, epochs=3, batch_size=64, seed=1, precision="32-true")


class Killed(BaseException):
    """Ends a search as a kill does."""


@pytest.fixture(scope="module")
def manifest(faces_csv: Path) -> Manifest:
    return load_manifest(faces_csv)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def search(manifest: Manifest, cache_dir: Path, tmp_path: Path) -> Search:
    return Search(manifest, tmp_path / "search", BASE, 3, 1, cache_dir, SMALL)


@pytest.fixture(scope="module")
def undisturbed(manifest: Manifest, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of three trials that nothing stopped."""
    out = tmp_path_factory.mktemp("undisturbed")
    run_search(Search(manifest, out, BASE, 3, 1, cache_dir, SMALL))
    return out


@pytest.fixture
def finished(undisturbed: Path, search: Search) -> Search:
    """A copy of that search."""
    shutil.copytree(undisturbed, search.out)
    return search


def test_the_space_is_that_of_the_study() -> None:
    study = optuna.create_study()
    for _ in range(20):
        settings = suggest(study.ask())
        assert settings["optimizer"] in {"adam", "rmsprop"}
        assert 256 <= settings["options"]["dense"] <= 1024
        assert set(settings["options"]["kernels"]) <= {3, 5}
        for width, (low, high) in zip(settings["options"]["filters"], FILTERS, strict=True):
            assert low <= width <= high


def test_a_killed_search_has_the_trials_of_an_undisturbed_one(
    search: Search, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed behind every epoch of every trial, before and after Hyperband is told of it in turn."""
    trained: list[Any] = []
    monkeypatch.setattr(tune, "train_epochs", _note_epochs(trained))
    kills = 0
    killed_at: set[tuple[int, int]] = set()
    report, should_prune = optuna.Trial.report, optuna.Trial.should_prune

    def kill_before(trial: optuna.Trial, value: float, step: int) -> None:
        if step % 2 and _is_new(killed_at, trial.number, step):
            raise Killed
        report(trial, value, step)

    def kill_after(trial: optuna.Trial) -> bool:
        stops = should_prune(trial)
        step = max(trial.study.trials[trial.number].intermediate_values)
        if step % 2 == 0 and _is_new(killed_at, trial.number, step):
            raise Killed
        return stops

    monkeypatch.setattr(optuna.Trial, "report", kill_before)
    monkeypatch.setattr(optuna.Trial, "should_prune", kill_after)
    while True:
        try:
            run_search(search)
            break
        except Killed:
            kills += 1
            assert list(search.out.glob("trial-*"))
            assert all(t.state.is_finished() for t in _load(search.out))
    trials = _load(search.out)
    assert [t.number for t in trials] == [0, 1, 2]
    assert [t.intermediate_values for t in trials] == [t.intermediate_values for t in _load(undisturbed)]
    # no epoch was trained twice
    assert kills == len(trained) == sum(len(t.intermediate_values) for t in trials)
    assert not list(search.out.glob("trial-*"))
    for name in RESULTS:
        assert (search.out / name).read_bytes() == (undisturbed / name).read_bytes()


def _is_new(seen: set[tuple[int, int]], *key: int) -> bool:
    known = key in seen
    seen.add(key)  # type: ignore[arg-type]
    return not known


def test_no_two_trials_are_the_same(undisturbed: Path) -> None:
    assert len({str(t.params) for t in _load(undisturbed)}) == 3


def test_finished_trials_are_not_repeated(finished: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Any] = []
    monkeypatch.setattr(tune, "train_epochs", _note_epochs(trained))
    before = {name: (finished.out / name).read_bytes() for name in RESULTS}
    for name in (*RESULTS, "search.png"):
        (finished.out / name).write_bytes(b"")
    run_search(finished)
    assert not trained
    assert {name: (finished.out / name).read_bytes() for name in RESULTS} == before
    with Image.open(finished.out / "search.png") as image:
        assert image.width > 500


def test_best_json_is_the_recipe_of_the_best_trial(undisturbed: Path) -> None:
    study = optuna.load_study(study_name="threeages", storage=f"sqlite:///{undisturbed / 'search.db'}")
    best = create_recipe(str(undisturbed / "best.json"))
    assert best.options == study.best_trial.user_attrs["settings"]["options"]
    rows = [row.split(",") for row in (undisturbed / "search.csv").read_text().splitlines()]
    assert study.best_value == max(float(row[2]) for row in rows[1:] if row[1] == "COMPLETE")


@pytest.mark.slow
def test_the_folder_of_a_killed_trial_may_be_damaged(
    search: Search, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "train_epochs", _kill_at_once)
    with pytest.raises(Killed):
        run_search(search)
    (run,) = search.out.glob("trial-*")
    (run / "last.ckpt").write_bytes(b"\0" * 100)
    monkeypatch.setattr(tune, "train_epochs", train_epochs)
    run_search(search)
    assert (search.out / "search.csv").read_bytes() == (undisturbed / "search.csv").read_bytes()


@pytest.mark.slow
def test_a_new_search_takes_no_folders_of_another(
    search: Search, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """search.db was removed, as the message about a damaged one proposes."""
    monkeypatch.setattr(tune, "train_epochs", _kill_at_once)
    with pytest.raises(Killed):
        run_search(replace(search, base=replace(BASE, seed=7)))
    (search.out / "search.db").unlink()
    monkeypatch.setattr(tune, "train_epochs", train_epochs)
    run_search(search)
    assert (search.out / "search.csv").read_bytes() == (undisturbed / "search.csv").read_bytes()


def test_a_loss_that_is_not_finite_fails_a_trial_alone(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(task: Any, data: Any, split: Any, config: TrainConfig, run: Path) -> Iterator[Any]:
        if run.name == "trial-0001":
            raise ThreeAgesError("The loss became nan.")
        return train_epochs(task, data, split, config, run)

    monkeypatch.setattr(tune, "train_epochs", fail)
    run_search(search)
    assert [t.state.name for t in _load(search.out)].count("FAIL") == 1
    assert len((search.out / "search.csv").read_text().splitlines()) == 4


@pytest.mark.slow
def test_a_full_disk_is_not_the_fault_of_a_trial(
    search: Search, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise DataError("The disk is full.")

    monkeypatch.setattr(tune, "train_epochs", fail)
    with pytest.raises(DataError, match="disk is full"):
        run_search(search)
    monkeypatch.setattr(tune, "train_epochs", train_epochs)
    run_search(search)
    assert (search.out / "search.csv").read_bytes() == (undisturbed / "search.csv").read_bytes()


def _other_labels(manifest: Manifest) -> Manifest:
    return replace(manifest, labels=np.roll(manifest.labels, 1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: replace(s, manifest=_other_labels(s.manifest)), "other labels"),
        (lambda s: replace(s, manifest=s.manifest.select(range(5, 120))), "other images"),
        (lambda s: replace(s, base=replace(s.base, fold=1)), "another split"),
        (lambda s: replace(s, base=replace(s.base, epochs=2)), "epochs is 3 there, 2 here"),
        (lambda s: replace(s, filters=FILTERS), "(?s)another space.*filters_0"),
        (lambda s: replace(s, base=replace(s.base, seed=2)), "another split|seed is 1 there, 2 here"),
    ],
)
def test_a_folder_takes_no_other_search(finished: Search, change: Any, words: str) -> None:
    before = {p.name: p.read_bytes() for p in finished.out.iterdir()}
    with pytest.raises(ConfigError, match=words) as error:
        run_search(change(finished))
    assert "--out" in str(error.value)
    assert {p.name: p.read_bytes() for p in finished.out.iterdir()} == before


@pytest.mark.parametrize("damage", ["halved", "zeroed", "empty", "text", "another program's"])
def test_a_damaged_storage_is_named_with_a_way_out(finished: Search, damage: str) -> None:
    path = finished.out / "search.db"
    whole = path.read_bytes()
    damaged = {
        "halved": whole[: len(whole) // 2],
        "zeroed": bytes(len(whole)),
        "empty": b"",
        "text": b"a,b\n1,2\n",
    }
    if damage in damaged:
        path.write_bytes(damaged[damage])
    else:
        path.unlink()
        with sqlite3.connect(path) as connection:
            connection.execute("create table things (name text)")
        connection.close()
    with pytest.raises(DataError, match=r"(?s)search\.db.*Remove it") as error:
        run_search(finished)
    assert str(error.value).count("\n") <= 1


def test_two_searches_in_one_folder_are_refused(search: Search) -> None:
    with hold_folder(search.out), pytest.raises(BusyError, match="at work"):
        run_search(search)


def _note_epochs(noted: list[Any]) -> Any:
    def train(*args: Any) -> Iterator[Any]:
        for row in train_epochs(*args):
            noted.append(row)
            yield row

    return train


def _kill_at_once(*args: Any) -> Iterator[Any]:
    next(train_epochs(*args))
    raise Killed


def _load(out: Path) -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{out / 'search.db'}"
    return optuna.load_study(study_name="threeages", storage=storage).get_trials()


@pytest.mark.slow
def test_several_processes_run_each_trial_once_whatever_kills_them(
    manifest: Manifest, cache_dir: Path, tmp_path: Path
) -> None:
    """A process that is killed ends the search with a message; the next start finishes it.

    The first trials of two processes learn from none, so that each of them can be run here as well.
    """
    search = Search(manifest, tmp_path / "search", replace(BASE, epochs=1), 4, 2, cache_dir, SMALL)
    killer = _kill_a_child(search.out)
    with pytest.raises(DataError, match="system ended a process"):
        run_search(search)
    killer.join()
    assert all(t.state.is_finished() for t in _load(search.out))
    run_search(search)
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // 2))  # as in the processes: the sums are in the same order
    other = replace(search, out=tmp_path / "other")
    images = open_data(manifest, search.base, cache_dir)
    expected = [run_trial(other, number, (), images) for number in range(4)]
    torch.set_num_threads(threads)
    found = _load(search.out)
    assert [(t.params, t.values) for t in found] == [(t.params, t.values) for t in expected]
    assert len((search.out / "search.csv").read_text().splitlines()) == 5


def _kill_a_child(out: Path) -> threading.Thread:
    """Kill a process of the search in this process once the training of a trial has begun."""
    others = set(multiprocessing.active_children())  # such as those of a service that tests share

    def kill() -> None:
        while not list(out.glob("trial-*")):
            time.sleep(0.001)
        next(child for child in multiprocessing.active_children() if child not in others).kill()

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


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


def test_images_too_small_for_every_trial_are_refused_before_the_first(search: Search) -> None:
    small = replace(search, base=replace(BASE, input_size=32))
    with pytest.raises(ConfigError, match="Images of 32 px are too small") as raised:
        run_search(small)
    assert "--size" in raised.value.hint
    assert not search.out.exists()


def test_a_search_without_a_trial_says_why_at_every_start(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ThreeAgesError("The loss became nan.")

    monkeypatch.setattr(tune, "train_epochs", fail)
    for _ in range(2):
        with pytest.raises(DataError, match=r"No trial .* The loss became nan\."):
            run_search(replace(search, trials=1))


def test_a_folder_of_a_trials_name_with_other_files_stays(search: Search) -> None:
    own = search.out / "trial-1" / "notes.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(ConfigError, match=r"trial-1 holds notes\.txt"):
        run_search(search)
    assert own.read_text() == "mine"
