"""Images in a store, by addresses such as s3://bucket/name: read by the worker that answers them."""

import glob
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from threeages.errors import DataError, ImageError, describe_cause
from threeages.faces.folders import is_image_name, skipped_kind
from threeages.files.remote import (
    HINT,
    check_store,
    copy_remote,
    is_remote_file,
    match_remote,
    read_remote,
    walk_remote,
)
from threeages.inference.bulk.listings import ListingReader
from threeages.inference.sources import Deferred, Source

ReadListing = Callable[[Path, ListingReader], Iterator[Path | Source]]


@dataclass(frozen=True)
class RemoteFile(Deferred):
    """A file of a store."""

    address: str

    def load(self) -> bytes | ImageError:
        """The bytes, or why they cannot be read."""
        try:
            return read_remote(self.address)
        except FileNotFoundError:
            return ImageError("missing", f"There is no file {self.address}.", hint="Check the address.")
        except DataError as error:
            return ImageError("missing", error.message, hint=error.hint)
        except OSError as error:
            what = f"Cannot read {self.address}: {describe_cause(error)}."
            return ImageError("missing", what, hint=HINT)


def locate_remote(address: str) -> Source:
    """The source of a file in a store; raises DataError where nothing that is installed reads it."""
    check_store(address)
    return Source(address, RemoteFile(address))


def read_remote_source(
    address: str, reader: ListingReader, is_listing: Callable[[Path], bool], read_listing: ReadListing
) -> Iterator[Path | Source]:
    """Yield the images of a file, folder, pattern or listing in a store; `read_listing` reads a local one.

    A listing is copied to the folder for temporary files while it is read. What cannot be read is a problem
    of the reader.
    """
    name = Path(PurePosixPath(address).name)
    try:
        if glob.has_magic(address):
            for found in _match(address):
                yield from read_remote_source(found, reader, is_listing, read_listing)
        elif is_listing(name):
            yield from _read_copy(address, name.name, reader, read_listing)
        elif is_image_name(name.name) or is_remote_file(address):
            yield locate_remote(address)
        else:
            yield from _walk(address, reader)
    except (DataError, OSError) as error:
        reader.problems.append(error if isinstance(error, DataError) else _broke_off(address, error))


def _broke_off(address: str, cause: OSError) -> DataError:
    what = f"{address} cannot be read to its end: {describe_cause(cause)}."
    return DataError(
        f"{what} What could be read of it is answered.",
        hint=f"{HINT} With --out, --resume then answers the rest.",
    )


def _match(pattern: str) -> list[str]:
    found = match_remote(pattern)
    if not found:
        raise DataError(f"No file matches {pattern}.", hint="Check the pattern.")
    return found


def _walk(address: str, reader: ListingReader) -> Iterator[Source]:
    """The images below a folder by their names; a store is asked for none of their bytes."""
    inside = len(PurePosixPath(address).parts)
    images = 0
    for found in walk_remote(address):
        path = PurePosixPath(found)
        if kind := next(filter(None, map(skipped_kind, path.parts[inside:])), ""):
            reader.passed_over[kind] += 1
        elif is_image_name(path.name):
            images += 1
            yield locate_remote(found)
        else:
            reader.passed_over[path.suffix.lower() or "no suffix"] += 1
    if not images:
        raise DataError(f"The folder {address} holds no images.", hint="Check the address.")


def _read_copy(
    address: str, name: str, reader: ListingReader, read_listing: ReadListing
) -> Iterator[Path | Source]:
    """The images of a listing, whose entries are named by its address."""
    with TemporaryDirectory(prefix="threeages-") as folder:
        copy = Path(folder) / name
        copy_remote(address, copy)
        known = len(reader.problems)
        for source in read_listing(copy, replace(reader, by_part=False)):
            if isinstance(source, Source) and source.name.startswith(f"{copy}/"):
                yield Source(address + source.name.removeprefix(str(copy)), source.content)
            else:
                yield source
        for i, problem in enumerate(reader.problems[known:], known):
            message = problem.message.replace(str(copy), address)
            reader.problems[i] = DataError(message, hint=problem.hint)
