import os
import socket
import sys

import pytest

from threeages.cluster.connect import _protect, connect_ray, import_ray
from threeages.errors import ConfigError, DataError, MissingDependencyError


def test_what_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match="'ray'") as raised:
        import_ray()
    assert "threeages[cluster]" in raised.value.hint
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_the_address_of_a_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(ConfigError, match="Ray's client") as raised, connect_ray():
        pass
    assert "ray job submit" in raised.value.hint


def test_a_cluster_that_is_not_there_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'threeages[cluster]'")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    refused = pytest.raises(DataError, match=f"No Ray cluster answers at {address}")
    with refused as raised, connect_ray(address):
        pass
    assert "--address" in raised.value.hint


def test_a_cluster_of_this_machine_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")  # so that they are as before after the test
        monkeypatch.delenv(name)
    _protect()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    first = os.environ["RAY_AUTH_TOKEN"]
    monkeypatch.delenv("RAY_AUTH_MODE")
    _protect()
    assert len(first) == 64 != os.environ["RAY_AUTH_TOKEN"]
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the user")
    _protect()
    assert os.environ["RAY_AUTH_TOKEN"] == "of the user"
