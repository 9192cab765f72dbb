"""Predicts the age group of a face: YOUNG (13 to 30 years), MIDDLE (31 to 50) or OLD (51 and over).

Example:
    >>> import threeages
    >>> predictor = threeages.load_predictor()
    >>> for record in predictor.predict(["photo.jpg"]):
    ...     print(record.status, record.age_group, record.confidence)
"""

from typing import TYPE_CHECKING, Any

from threeages.telemetry import turn_off_telemetry

if TYPE_CHECKING:
    from threeages.client import Client
    from threeages.errors import ThreeAgesError
    from threeages.inference.predictor import Predictor, load_predictor
    from threeages.inference.records import Record

__all__ = ["Client", "Predictor", "Record", "ThreeAgesError", "load_predictor"]

turn_off_telemetry()  # here, as every module of the package is imported after it, in every process

_MODULES = {
    "Client": "client",
    "Predictor": "inference.predictor",
    "Record": "inference.records",
    "ThreeAgesError": "errors",
    "load_predictor": "inference.predictor",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import threeages` stays light."""
    if name == "__version__":  # importlib.metadata costs 50 ms at every start
        from importlib.metadata import version

        return version("threeages")
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"threeages.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
