"""Files in a store, by addresses such as s3://bucket/name: by fsspec, else by pyarrow."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from threeages.errors import DataError, MissingDependencyError, describe_cause

# that a listing may name: no web pages, as whoever writes a listing would choose what this machine asks for
SCHEMES = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "hdfs", "webhdfs", "file", "memory"}
)
_CHECKED: set[str] = set()  # schemes that are read
TRIES, PAUSE = 3, 0.5  # of a read that fails, and seconds before the second one
HINT = "Check the address, the rights in the store and the network."
FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, DataError, MissingDependencyError)


def is_remote(text: str) -> bool:
    """Whether a text is the address of a file or folder in a store."""
    scheme, mark, _ = text.partition("://")
    return bool(mark) and scheme.lower() in SCHEMES


def check_store(address: str) -> None:
    """Raise MissingDependencyError or DataError where nothing that is installed reads an address."""
    if (scheme := address.partition("://")[0]) not in _CHECKED:
        _open_store(address)
        _CHECKED.add(scheme)


def read_remote(address: str) -> bytes:
    """The bytes of a file; a read that fails is tried again.

    Raises FileNotFoundError and other errors of the system, DataError for what a store's own library raises.
    """
    store, path = _open_store(address)
    for number in range(TRIES):
        try:
            content: bytes = store.cat_file(path)
            return content
        except FINAL:
            raise
        except Exception as error:  # every store has classes of its own
            if number == TRIES - 1:
                raise _refuse(address, error) from error
        time.sleep(PAUSE * 2**number)
    raise AssertionError


def copy_remote(address: str, path: Path) -> None:
    """Copy a file of a store to a new local one; raises as `read_remote`."""
    store, name = _open_store(address)
    _call(address, store.get_file, name, str(path))


def is_remote_file(address: str) -> bool:
    """Whether an address is that of a file."""
    store, path = _open_store(address)
    return bool(_call(address, store.isfile, path))


def walk_remote(address: str) -> Iterator[str]:
    """The addresses of all files below a folder, one folder after another."""
    store, path = _open_store(address)
    for folder, _, names in _call(address, store.walk, path, on_error="raise"):
        yield from (_join(address, f"{folder}/{name}") for name in sorted(names))


def match_remote(pattern: str) -> list[str]:
    """The addresses that match a pattern with `*`, `?` and `**`, sorted."""
    store, path = _open_store(pattern)
    return [_join(pattern, found) for found in sorted(_call(pattern, store.glob, path))]


def _open_store(address: str) -> tuple[Any, str]:
    """The store of an address as fsspec gives it, and the path there."""
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as error:
        raise MissingDependencyError("fsspec", "cluster") from error
    try:
        store, path = url_to_fs(address)
    except ImportError as error:  # fsspec names the package that this store needs
        return _open_in_arrow(address, error)
    return store, str(path)


def _open_in_arrow(address: str, lacking: ImportError) -> tuple[Any, str]:
    """The store as pyarrow reads it, with the interface of fsspec."""
    try:
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow import ArrowException
        from pyarrow.fs import FileSystem
    except ModuleNotFoundError as error:
        raise MissingDependencyError("pyarrow", "cluster") from error
    try:
        store, path = FileSystem.from_uri(address)
    except (ArrowException, OSError) as error:
        hint = f"{describe_cause(lacking)}. {describe_cause(error)}."
        raise DataError(f"Nothing that is installed reads {address}.", hint=hint) from error
    return ArrowFSWrapper(store), path


def _refuse(address: str, error: Exception) -> DataError:
    return DataError(f"Cannot read {address}: {describe_cause(error)}.", hint=HINT)


def _join(address: str, path: str) -> str:
    return f"{address.partition('://')[0]}://{path}"


def _call(address: str, call: Any, *args: Any, **options: Any) -> Any:
    try:
        return call(*args, **options)
    except FINAL:
        raise
    except Exception as error:
        raise _refuse(address, error) from error
