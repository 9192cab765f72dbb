"""Search the reference study's space of CNN settings on validation identities."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
import torch

from threeages.csvfiles import write_rows
from threeages.data.manifest import Manifest
from threeages.errors import ConfigError, DataError, ThreeAgesError
from threeages.evaluation.plots import Trial, plot_search, save_figure
from threeages.files import write_json
from threeages.training.build import create_data, create_model, open_data
from threeages.training.config import TrainConfig
from threeages.training.loop import train_epochs
from threeages.training.malloc import keep_freed_memory
from threeages.training.tasks import ClassificationTask

logger = logging.getLogger(__name__)

FILTERS = ((32, 64), (64, 128), (128, 256), (128, 256))  # fewest and most filters of each block
COMPLETE = optuna.trial.TrialState.COMPLETE
FINISHED = (COMPLETE, optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL)


@dataclass(frozen=True)
class Search:
    """`trials` counts all trials in the storage `out/search.db`, so that a stopped search resumes."""

    manifest: Manifest
    out: Path
    base: TrainConfig
    trials: int = 30
    processes: int = 1
    cache_dir: Path | None = None


def run_search(search: Search) -> TrainConfig:
    """Run the trials that are missing and return the best trial's settings.

    Writes search.csv, search.png and the recipe best.json. Trials are sampled by TPE (Bergstra et al., 2011)
    and stopped early by Hyperband (Li et al., 2018) on the accuracy of the validation rows, whose identities
    are in neither training nor test rows when the split is by identity. Raises DataError where no trial
    completed.
    """
    if search.base.split == "none":
        raise ConfigError("A search needs validation rows.", hint="Give --split identity or --split random.")
    search.out.mkdir(parents=True, exist_ok=True)
    study = _open_study(search, 0)
    # the pixel cache is built here once; otherwise every process would build it
    open_data(search.manifest, search.base, search.cache_dir)
    _run_workers(search)
    trials = study.get_trials()
    best = _best_trial(trials)
    measured = [t for t in trials if t.value is not None]
    points: list[Trial] = [(t.number, t.value or 0.0, t.state != COMPLETE) for t in measured]
    save_figure(plot_search(points), search.out / "search.png")
    config = replace(search.base, **best.user_attrs["settings"])
    write_json(search.out / "best.json", config.to_dict())
    _write_trials(trials, search.out / "search.csv")
    logger.info("Best of %d trials: %.4f with %s", len(measured), best.value, best.params)
    return config


def _run_workers(search: Search) -> None:
    if search.processes == 1:
        _work(search, 0)
        return
    context = get_context("spawn")
    workers = [context.Process(target=_work, args=(search, i)) for i in range(search.processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _best_trial(trials: Sequence[optuna.trial.FrozenTrial]) -> optuna.trial.FrozenTrial:
    complete = [trial for trial in trials if trial.state == COMPLETE]
    if not complete:
        raise DataError("No trial of the search completed.", hint="Give more --trials; the log says why.")
    return max(complete, key=lambda trial: trial.value or 0.0)


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Settings of one trial, sampled from the reference study's space."""
    filters = [trial.suggest_int(f"filters_{i}", low, high, step=32) for i, (low, high) in enumerate(FILTERS)]
    kernels = [trial.suggest_categorical(f"kernel_{i}", [3, 5]) for i in range(len(FILTERS))]
    dense = trial.suggest_int("dense", 256, 1024, step=256)
    optimizer = trial.suggest_categorical("optimizer", ["adam", "rmsprop"])
    return {"options": {"filters": filters, "kernels": kernels, "dense": dense}, "optimizer": optimizer}


def _open_study(search: Search, worker: int) -> optuna.Study:
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{search.out / 'search.db'}",
        engine_kwargs={"connect_args": {"timeout": 60}},  # seconds to wait for another process' write
    )
    return optuna.create_study(
        storage=storage,
        study_name="threeages",
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=search.base.seed + worker),
        pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=search.base.epochs),
    )


def _write_trials(trials: Sequence[optuna.trial.FrozenTrial], path: Path) -> None:
    rows = [
        {"number": str(t.number), "state": t.state.name, "accuracy": "" if t.value is None else str(t.value)}
        | {name: str(value) for name, value in t.params.items()}
        for t in trials
    ]
    write_rows(path, rows)


def _work(search: Search, worker: int) -> None:
    if search.processes > 1:
        keep_freed_memory()  # a process of its own
        torch.set_num_threads(max(1, torch.get_num_threads() // search.processes))
    study = _open_study(search, worker)
    cache, split = open_data(search.manifest, search.base, search.cache_dir)

    def objective(trial: optuna.Trial) -> float:
        settings = suggest(trial)
        trial.set_user_attr("settings", settings)
        config = replace(search.base, **settings)
        model = create_model(config, search.manifest)
        data = create_data(search.manifest, model, cache, search.cache_dir)
        best = 0.0
        with tempfile.TemporaryDirectory(dir=search.out) as run:
            task = ClassificationTask(model, config.extra_heads)
            for row in train_epochs(task, data, split, config, Path(run)):
                best = max(best, row["val_accuracy"])
                trial.report(row["val_accuracy"], row["epoch"])
                if trial.should_prune():
                    raise optuna.TrialPruned
        return best

    limit = optuna.study.MaxTrialsCallback(search.trials, states=FINISHED)
    if sum(trial.state in FINISHED for trial in study.get_trials()) < search.trials:
        study.optimize(objective, callbacks=[limit], catch=(ThreeAgesError,))
