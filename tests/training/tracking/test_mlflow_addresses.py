"""Addresses that MLflow's client takes none of; no server is needed."""

import pytest

from threeages.errors import ConfigError
from threeages.training.tracking.mlflow import ALLOWED, MlflowTracker

pytest.importorskip("mlflow")


@pytest.mark.parametrize("address", ["file:./mlruns", "nonsense", "what://user:secret@host"])
def test_an_address_of_no_server_is_refused_in_words(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(ConfigError, match="MLflow takes no address") as raised:
        MlflowTracker(address)
    assert raised.value.hint == ALLOWED
    assert "secret" not in str(raised.value)
