"""Search the reference study's space of CNN settings on validation identities."""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna
import torch
from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial, TrialState

from threeages.data.cache import PixelCache
from threeages.data.manifest import Manifest
from threeages.data.split import Split
from threeages.data.split_notes import describe_leakage
from threeages.errors import ConfigError, DataError, ThreeAgesError
from threeages.evaluation.plots import Trial, plot_search, save_figure
from threeages.files.csvfiles import write_rows
from threeages.files.locks import hold_folder
from threeages.files.writing import write_json
from threeages.processes import start_processes
from threeages.studies.trials import NAME, TrialStore, open_trials
from threeages.training.build import create_data, create_model, open_data, weigh_data
from threeages.training.checkpoint import BEST, LAST, PREVIOUS, load_checkpoint
from threeages.training.checks import check_labels
from threeages.training.config import TrainConfig
from threeages.training.epochs import Epoch
from threeages.training.identity import describe_data
from threeages.training.loop import train_epochs
from threeages.training.malloc import keep_freed_memory
from threeages.training.recipes import CONFIG_FILE
from threeages.training.run_folder import METRICS_FILE
from threeages.training.tasks import ClassificationTask

logger = logging.getLogger(__name__)

Filters = tuple[tuple[int, int], ...]
FILTERS: Filters = ((32, 64), (64, 128), (128, 256), (128, 256))  # fewest and most filters of each block
TRIALS_FILE = "search.db"
TRIAL_FILES = (LAST, PREVIOUS, BEST, METRICS_FILE, CONFIG_FILE)  # what a trial's folder holds
FAILURE = "failure"  # why a trial failed, among its attributes
Images = tuple[PixelCache, Split]
_IMAGES: dict[Path, Images] = {}  # of the search that this process works for, by its folder


@dataclass(frozen=True)
class Search:
    """`trials` counts all trials in the storage `out/search.db`, so that a stopped search resumes.

    With `on_ray` trials run on a Ray cluster, that of the `address` as for `cluster.connect.connect_ray`.
    """

    manifest: Manifest
    out: Path
    base: TrainConfig
    trials: int = 30
    processes: int = 1
    cache_dir: Path | None = None
    filters: Filters = FILTERS
    on_ray: bool = False
    address: str | None = None


class Future(Protocol):
    """A trial under way."""

    def result(self) -> FrozenTrial:
        """The finished trial."""


class Pool(Protocol):
    """Runs trials in other processes, here or on a cluster."""

    def submit(self, fn: Callable[..., FrozenTrial], /, *args: Any) -> Future:
        """Start a trial as soon as a process is free."""


def run_search(search: Search) -> TrainConfig:
    """Run the trials that are missing and return the best trial's settings.

    Writes search.csv, search.png and the recipe best.json. Trials are sampled by TPE (Bergstra et al., 2011)
    and stopped early by Hyperband (Li et al., 2018) on the accuracy of the validation rows, whose identities
    are in neither training nor test rows when the split is by identity.

    A trial depends on the search's seed, on its own number and on the trials that `run_trial` is given, so
    that a stopped search resumes with the trials that it would have had, the unfinished ones at their last
    saved epoch. Raises DataError where no trial completed, where a process was ended by the system and where
    search.db is damaged; ConfigError where it is of other data or settings; BusyError where another process
    is at work in the folder.
    """
    if search.on_ray:
        search = _as_seen_by_others(search)
    if search.base.split == "none":
        raise ConfigError("A search needs validation rows.", hint="Give --split identity or --split random.")
    check_labels(search.manifest, search.base)
    _check_size(search)
    _quiet_libraries()
    with hold_folder(search.out):
        _check_folders(search)
        # the pixel cache is built here once; otherwise every process would build it
        cache, split = images = open_data(search.manifest, search.base, search.cache_dir)
        for sentence in describe_leakage(search.manifest, split, search.base.split):
            logger.warning("%s", sentence)
        identity = {
            "data": describe_data(search.manifest, split, cache),
            "config": search.base.to_dict(),
            "space": describe_space(search.filters),
        }
        fresh = not (search.out / TRIALS_FILE).exists()
        store = open_trials(search.out / TRIALS_FILE, identity)
        done = store.read()
        _remove_runs(search, 0 if fresh else len(done), fresh)
        _run_missing(search, store, done, images)
        return _write_results(search, done)


def _as_seen_by_others(search: Search) -> Search:
    """The search with folders that a process with another current folder finds."""
    cache = search.cache_dir and search.cache_dir.absolute()
    return replace(search, out=search.out.absolute(), cache_dir=cache)


def _check_size(search: Search) -> None:
    """Raise ConfigError where the images are too small for every network of the space."""
    smallest = optuna.trial.FixedTrial(
        {f"filters_{i}": low for i, (low, _) in enumerate(search.filters)}
        | {f"kernel_{i}": 3 for i in range(len(search.filters))}
        | {"dense": 256, "optimizer": "adam"}
    )
    try:
        create_model(replace(search.base, **suggest(smallest, search.filters)))
    except ConfigError as error:
        hint = "Give another --size; no smaller kernels are searched."
        raise ConfigError(error.message, hint=hint) from error


def _check_folders(search: Search) -> None:
    """Raise ConfigError where a folder that a trial would use, and remove, holds other files."""
    for run in _list_runs(search):
        foreign = [p.name for p in run.iterdir() if p.name not in TRIAL_FILES and not p.name.startswith(".")]
        if foreign:
            raise ConfigError(f"{run} holds {foreign[0]}, which is of no search.", hint="Give another --out.")


def run_trial(search: Search, number: int, past: Sequence[FrozenTrial], images: Images) -> FrozenTrial:
    """Sample, train and evaluate the trial of a number, which learns from the `past` trials alone.

    Its training is kept in a folder of its own, and resumes from it. A trial whose loss is not finite fails.
    """
    study = _create_view(search, number, past)
    trial = study.ask()
    settings = suggest(trial, search.filters)
    trial.set_user_attr("settings", settings)
    try:
        accuracy = _train(search, trial, replace(search.base, **settings), images)
        study.tell(trial, accuracy)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except DataError:  # of the disk or the images, not of the settings that the trial has sampled
        raise
    except ThreeAgesError as error:
        logger.warning("Trial %d failed: %s", number, error)
        trial.set_user_attr(FAILURE, error.message)
        study.tell(trial, state=TrialState.FAIL)
    return study.trials[number]


def describe_space(filters: Filters = FILTERS) -> dict[str, str]:
    """The distribution of every setting that is searched, by its name."""
    trial = optuna.create_study().ask()
    suggest(trial, filters)
    return {name: distribution_to_json(kind) for name, kind in trial.distributions.items()}


def _create_view(search: Search, number: int, past: Sequence[FrozenTrial]) -> optuna.Study:
    """A study in memory whose next trial has this number and its own seed.

    The trials between `past` and it are there as failed ones, which neither sampler nor pruner looks at.
    """
    study = optuna.create_study(
        study_name=NAME,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=_derive_seed(search.base.seed, number)),
        pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=search.base.epochs),
    )
    study.add_trials(past)
    for _ in range(len(past), number):
        study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
    return study


def _derive_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _train(search: Search, trial: optuna.Trial, config: TrainConfig, images: Images) -> float:
    """The best accuracy on the validation rows; raises TrialPruned where Hyperband stops the trial."""
    best = 0.0
    for row in _train_epochs(search, config, images, _run_folder(search, trial.number)):
        best = max(best, row["val_accuracy"])
        trial.report(row["val_accuracy"], row["epoch"])
        if trial.should_prune():
            raise optuna.TrialPruned
    return best


def _train_epochs(search: Search, config: TrainConfig, images: Images, run: Path) -> Iterator[Epoch]:
    """The metrics of every epoch, first of those that the folder holds from a stopped search."""
    history = _read_history(run, config)
    yield from history
    cache, split = images
    model = create_model(config, search.manifest)
    data = create_data(search.manifest, model, cache, search.cache_dir)
    data = weigh_data(data, search.manifest, config, split.train)
    task = ClassificationTask(model, config.extra_heads)
    for row in train_epochs(task, data, split, config, run):
        if row["epoch"] > len(history):
            yield row


def _read_history(run: Path, config: TrainConfig) -> list[Epoch]:
    """The epochs in a folder; it is removed where it is damaged or of other settings."""
    try:
        saved = load_checkpoint(run / LAST)[1]
        if TrainConfig.from_dict(saved["config"]) == config:
            return list(saved["history"])
    except ThreeAgesError:
        pass
    shutil.rmtree(run, ignore_errors=True)
    return []


def _run_folder(search: Search, number: int) -> Path:
    return search.out / f"trial-{number:04}"


def _remove_runs(search: Search, finished: int, fresh: bool) -> None:
    """Remove the folders of trials that need none: those finished, and all when the search is new."""
    for run in _list_runs(search):
        if fresh or int(run.name.removeprefix("trial-")) < finished:
            shutil.rmtree(run, ignore_errors=True)


def _list_runs(search: Search) -> list[Path]:
    """The folders with the name of a trial's."""
    found = search.out.glob("trial-*")
    return [run for run in found if run.is_dir() and run.name.removeprefix("trial-").isdecimal()]


def _run_missing(search: Search, store: TrialStore, done: list[FrozenTrial], images: Images) -> None:
    """Run the missing trials and append them to `done`, in the order of their numbers.

    Of several processes, a trial learns from those two rounds before it and earlier: then none waits for
    another, and the order in which they end changes nothing.
    """

    def keep(trial: FrozenTrial) -> None:
        store.add(trial)
        done.append(trial)
        shutil.rmtree(_run_folder(search, trial.number), ignore_errors=True)
        logger.info("%s", _format(trial, search.trials))

    if search.processes == 1 and not search.on_ray:
        for number in range(len(done), search.trials):
            keep(run_trial(search, number, done, images))
    elif len(done) < search.trials:
        with _open_pool(search) as (pool, threads):
            _run_ahead(search, pool, threads, done, keep)


@contextmanager
def _open_pool(search: Search) -> Iterator[tuple[Pool, int | None]]:
    """The processes that run trials, and the number of threads for each; None shares this machine's."""
    if not search.on_ray:
        with start_processes(search.processes) as pool:
            yield pool, None
        return
    from threeages.cluster.connect import connect_ray
    from threeages.cluster.tasks import open_pool

    with connect_ray(search.address) as ray, open_pool(ray, search.processes) as tasks:
        yield tasks, tasks.cores


def _run_ahead(
    search: Search,
    pool: Pool,
    threads: int | None,
    done: list[FrozenTrial],
    keep: Callable[[FrozenTrial], None],
) -> None:
    ahead = 2 * search.processes if search.processes > 1 else 1
    waiting: dict[int, Future] = {}
    for number in range(len(done), search.trials):
        for later in range(number, min(number + ahead, search.trials)):
            if later not in waiting:
                waiting[later] = pool.submit(_work, search, later, done[: max(0, later - ahead + 1)], threads)
        keep(waiting[number].result())


def _work(search: Search, number: int, past: Sequence[FrozenTrial], threads: int | None) -> FrozenTrial:
    """One trial, in a process of its own."""
    if search.out not in _IMAGES:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - progress bars of several would mix
        _quiet_libraries()
        keep_freed_memory()
        torch.set_num_threads(threads or max(1, torch.get_num_threads() // search.processes))
        _IMAGES[search.out] = open_data(search.manifest, search.base, search.cache_dir)
    return run_trial(search, number, past, _IMAGES[search.out])


def _quiet_libraries() -> None:
    """Each trial is logged here, in one line; theirs would hide it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def _format(trial: FrozenTrial, trials: int) -> str:
    end = f"accuracy {trial.value:.4f}" if trial.value is not None else "failed"
    stopped = ", stopped early" if trial.state == TrialState.PRUNED else ""
    return (
        f"Trial {trial.number + 1} of {trials}: {end} after {len(trial.intermediate_values)} epochs{stopped}"
    )


def _write_results(search: Search, trials: Sequence[FrozenTrial]) -> TrainConfig:
    """Write what is derived from the trials; return the settings of the best one."""
    best = _best_trial(trials)
    measured = [t for t in trials if t.value is not None]
    points: list[Trial] = [(t.number, t.value or 0.0, t.state != TrialState.COMPLETE) for t in measured]
    save_figure(plot_search(points), search.out / "search.png")
    config = replace(search.base, **best.user_attrs["settings"])
    write_json(search.out / "best.json", config.to_dict())
    _write_trials(trials, search.out / "search.csv")
    logger.info("Best of %d trials: %.4f with %s", len(measured), best.value, best.params)
    return config


def _best_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        reasons = [trial.user_attrs.get(FAILURE, "It was stopped early.") for trial in trials]
        raise DataError(
            f"No trial of the search completed. The last one: {reasons[-1]}",
            hint="Give more --trials, or another --size or --epochs with another --out.",
        )
    return max(complete, key=lambda trial: trial.value or 0.0)


def suggest(trial: optuna.trial.BaseTrial, filters: Filters = FILTERS) -> dict[str, Any]:
    """Settings of one trial, sampled from the reference study's space or with other numbers of filters."""
    numbers = [trial.suggest_int(f"filters_{i}", low, high, step=32) for i, (low, high) in enumerate(filters)]
    kernels = [trial.suggest_categorical(f"kernel_{i}", [3, 5]) for i in range(len(filters))]
    dense = trial.suggest_int("dense", 256, 1024, step=256)
    optimizer = trial.suggest_categorical("optimizer", ["adam", "rmsprop"])
    return {"options": {"filters": numbers, "kernels": kernels, "dense": dense}, "optimizer": optimizer}


def _write_trials(trials: Sequence[FrozenTrial], path: Path) -> None:
    rows = [
        {"number": str(t.number), "state": t.state.name, "accuracy": "" if t.value is None else str(t.value)}
        | {name: str(value) for name, value in t.params.items()}
        for t in trials
    ]
    write_rows(path, rows)
