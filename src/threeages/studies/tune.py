"""Search for the CNN's best settings in the reference study's space, on people outside the training folds."""

import csv
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
import torch

from threeages.data.manifest import Manifest
from threeages.errors import DataError, ThreeAgesError
from threeages.evaluation.plots import Trial, plot_search, save_figure
from threeages.files import atomic_path
from threeages.training.build import create_data, create_model, open_data
from threeages.training.config import TrainConfig
from threeages.training.loop import train_epochs
from threeages.training.malloc import keep_freed_memory
from threeages.training.tasks import ClassificationTask

FILTERS = ((32, 64), (64, 128), (128, 256), (128, 256))  # least and most of each block
FINISHED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL)


@dataclass(frozen=True)
class Search:
    """`trials` counts all that the storage `out/search.db` holds, so a stopped search goes on."""

    manifest: Manifest
    out: Path
    base: TrainConfig
    trials: int = 30
    processes: int = 1
    cache_dir: Path | None = None


def run_search(search: Search, say: Callable[[str], None]) -> TrainConfig:
    """Search, write search.csv, search.png and the recipe best.json to the folder, and return the recipe.

    Trials are sampled by TPE and cut by Hyperband on the accuracy of the `select` rows, which in `people`
    mode are people of neither the training nor the test fold. Raises DataError where no trial came through.
    """
    search.out.mkdir(parents=True, exist_ok=True)
    study = _open_study(search, 0)
    open_data(
        search.manifest, search.base, search.cache_dir
    )  # before the processes, which would each build it
    if search.processes == 1:
        _work(search, 0)
    else:
        context = get_context("spawn")
        workers = [context.Process(target=_work, args=(search, i)) for i in range(search.processes)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    done = [trial for trial in study.get_trials() if trial.value is not None]
    complete = [trial for trial in done if trial.state == optuna.trial.TrialState.COMPLETE]
    if not complete:
        raise DataError("No trial of the search came through.", hint="Give more --trials; the log says why.")
    best = max(complete, key=lambda trial: trial.value or 0.0)
    trials: list[Trial] = [(t.number, t.value or 0.0, t.state.name != "COMPLETE") for t in done]
    save_figure(plot_search(trials), search.out / "search.png")
    config = replace(search.base, **best.user_attrs["settings"])
    with atomic_path(search.out / "best.json") as part:
        part.write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")
    _write_trials(study.get_trials(), search.out / "search.csv")
    say(f"Best of {len(done)} trials: {best.value:.4f} with {best.params}")
    return config


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Settings from the reference study's space."""
    filters = [trial.suggest_int(f"filters_{i}", low, high, step=32) for i, (low, high) in enumerate(FILTERS)]
    kernels = [trial.suggest_categorical(f"kernel_{i}", [3, 5]) for i in range(len(FILTERS))]
    dense = trial.suggest_int("dense", 256, 1024, step=256)
    optimizer = trial.suggest_categorical("optimizer", ["adam", "rmsprop"])
    return {"options": {"filters": filters, "kernels": kernels, "dense": dense}, "optimizer": optimizer}


def _open_study(search: Search, worker: int) -> optuna.Study:
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{search.out / 'search.db'}",
        engine_kwargs={"connect_args": {"timeout": 60}},  # seconds that a process waits for another's write
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
    rows = [{"number": t.number, "state": t.state.name, "accuracy": t.value, **t.params} for t in trials]
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


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
