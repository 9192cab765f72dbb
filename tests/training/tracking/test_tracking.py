import sys
from pathlib import Path

import pytest

from threeages.errors import ConfigError, MissingDependencyError
from threeages.training.tracking.tracking import open_tracking

MODULES = {"tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow", "trackio": "trackio"}


@pytest.mark.parametrize("name", MODULES)
def test_without_its_library_it_says_what_to_install(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, MODULES[name], None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    with pytest.raises(MissingDependencyError, match=rf"threeages\[{name}\]"):
        open_tracking([name], tmp_path)


def test_an_unknown_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--track was 'wandb'") as error:
        open_tracking(["tensorboard", "wandb"], tmp_path)
    assert error.value.hint == "Allowed: tensorboard, mlflow, trackio."


def test_mlflow_needs_an_address_and_only_mlflow_takes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match="no address") as error:
        open_tracking(["mlflow"], tmp_path)
    assert "--tracking-uri" in error.value.hint
    with pytest.raises(ConfigError, match="--tracking-uri was given without --track mlflow"):
        open_tracking(["tensorboard"], tmp_path, "http://localhost:1")


def test_a_tracker_that_is_named_twice_is_one(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert len(open_tracking(["tensorboard", "tensorboard"], tmp_path).trackers) == 1
