"""Age group of a face (YOUNG, MIDDLE, OLD), with figures measured on people the model never saw."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threeages.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    if name == "Client":  # loads the HTTP library
        from threeages.client import Client

        return Client
    if name == "__version__":  # looked up when asked for: importlib.metadata costs 50 ms at every start
        from importlib.metadata import version

        return version("threeages")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
