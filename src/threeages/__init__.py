"""Age group of a face (YOUNG, MIDDLE, OLD), with figures measured on people the model never saw."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threeages.client import Client
    from threeages.inference.predictor import Predictor, load_predictor
    from threeages.inference.records import Record

__all__ = ["Client", "Predictor", "Record", "load_predictor"]

_HOMES = {
    "Client": "client",
    "Predictor": "inference.predictor",
    "load_predictor": "inference.predictor",
    "Record": "inference.records",
}


def __getattr__(name: str) -> Any:
    """Names are looked up when asked for, so that `import threeages` stays light."""
    if name == "__version__":  # importlib.metadata costs 50 ms at every start
        from importlib.metadata import version

        return version("threeages")
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"threeages.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
