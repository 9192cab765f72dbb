"""The finished trials of a search, in an SQLite file that Optuna's tools read."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from threeages.errors import ConfigError, DataError
from threeages.files.atomic import atomic_path
from threeages.files.disk import full_disk_error
from threeages.training.identity import check_data, describe_changes

NAME = "threeages"  # of the study inside the file; Hyperband derives a trial's bracket from it
IDENTITY = "identity"  # what the search is of, among the study's attributes
HEADER = b"SQLite format 3\0"


class TrialStore:
    """The trials of one search in the order of their numbers; only finished ones are written, each whole.

    An unfinished trial leaves nothing here, so that a stopped search has none to repair.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _translate(path):
            self._study = optuna.load_study(study_name=NAME, storage=_connect(path))

    def identity(self) -> dict[str, Any]:
        """What `open_trials` was given when the file was created."""
        with _translate(self._path):
            found: dict[str, Any] = self._study.user_attrs.get(IDENTITY, {})
        return found

    def read(self) -> list[FrozenTrial]:
        """Every trial."""
        with _translate(self._path):
            return self._study.get_trials()

    def add(self, trial: FrozenTrial) -> None:
        """Append the next trial; raises DataError where the disk is full."""
        with _translate(self._path):
            self._study.add_trial(trial)


def open_trials(path: Path, identity: Mapping[str, Any]) -> TrialStore:
    """The trials in a file, which is created where there is none.

    `identity` says what the search is of: `data` (training.identity), `config` and `space`. Raises
    ConfigError where the file is of another search, DataError where it is damaged.
    """
    if not path.exists():
        _create(path, identity)
    _check_file(path)
    store = TrialStore(path)
    _check_identity(store.identity(), identity, path.parent)
    return store


def _create(path: Path, identity: Mapping[str, Any]) -> None:
    with atomic_path(path, durable=True) as part, _translate(path):
        storage = _connect(part)
        study = optuna.create_study(storage=storage, study_name=NAME, direction="maximize")
        study.set_user_attr(IDENTITY, dict(identity))
        storage.engine.dispose()


def _connect(path: Path) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(f"sqlite:///{path}")


def _check_file(path: Path) -> None:
    """Raise DataError where the file lacks a part or is another program's, which Optuna would write into."""
    with _translate(path):
        with path.open("rb") as file:
            if file.read(len(HEADER)) != HEADER:
                raise sqlite3.DatabaseError("it is no SQLite file")
        with closing(sqlite3.connect(path)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check").fetchone()
            tables = {name for (name,) in connection.execute("select name from sqlite_master")}
        if found != "ok":
            raise sqlite3.DatabaseError(str(found))
        if "studies" not in tables:
            raise sqlite3.DatabaseError("it is not Optuna's")


def _check_identity(saved: dict[str, Any], identity: Mapping[str, Any], folder: Path) -> None:
    check_data(saved.get("data"), identity["data"], folder)
    for what, name in (("config", "configuration"), ("space", "space")):
        if changes := describe_changes(saved[what], identity[what]):
            raise ConfigError(
                f"{folder} holds a search of another {name}: {changes}.",
                hint="Give those settings again, or another --out.",
            )


@contextmanager
def _translate(path: Path) -> Iterator[None]:
    """Turn what SQLite and Optuna raise into a message with a way out."""
    try:
        yield
    except (sqlite3.Error, SQLAlchemyError, OptunaError, KeyError, json.JSONDecodeError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        if "disk is full" in reason:
            raise full_disk_error(path) from error
        raise DataError(
            f"{path} cannot be used as the trials of a search: {reason}.",
            hint="Remove it to start the search over, or give another --out.",
        ) from error
