"""pyarrow, which reads and writes parquet: the extra `parquet`."""

from typing import Any

from threeages.errors import MissingDependencyError


def import_arrow() -> tuple[Any, Any]:
    """The modules `pyarrow` and `pyarrow.parquet`; raises MissingDependencyError where they are absent."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingDependencyError("pyarrow", "parquet") from error
    return pyarrow, parquet
