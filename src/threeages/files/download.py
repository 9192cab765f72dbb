"""Files from the web: written whole or not at all. Nothing else in the prediction core opens a connection."""

import math
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from threeages.errors import DataError, describe_cause
from threeages.files.atomic import atomic_path
from threeages.files.disk import check_room, format_bytes, write_error
from threeages.progress import track_progress

TIMEOUT = 30.0  # seconds without a byte
BLOCK = 1 << 20  # bytes


def download(address: str, path: Path, *, hint: str) -> None:
    """Write what an address delivers to a file, which takes its name when it is whole; a bar on stderr.

    A proxy is used as HTTPS_PROXY, HTTP_PROXY and NO_PROXY say. Raises DataError with `hint` where the
    address does not deliver, and DataError where the disk has no room.
    """
    with atomic_path(path) as part:
        try:
            request = urllib.request.Request(address, headers={"User-Agent": "threeages"})
            with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
                _write(reply, part, path)
        except HTTPError as error:
            error.close()
            reason = f"it answers {error.code} {describe_cause(error.reason)}"
            raise DataError(f"Cannot fetch {address}: {reason}.", hint=hint) from error
        except (OSError, HTTPException, ValueError) as error:  # no network, no such host, no address
            cause = getattr(error, "reason", error)
            raise DataError(f"Cannot fetch {address}: {describe_cause(cause)}.", hint=hint) from error


def _write(reply: Any, part: Path, path: Path) -> None:
    """The bytes of a reply into a file; raises ConnectionError where they end early."""
    size = int(reply.headers.get("Content-Length") or 0)
    check_room(path, size)
    title = f"Fetching {format_bytes(size)}" if size else "Fetching"
    blocks = track_progress(_read(reply), title, math.ceil(size / BLOCK))
    written = 0
    with part.open("wb") as file:
        for block in blocks:
            try:
                written += file.write(block)
                file.flush()
            except OSError as error:
                raise write_error(path, error, need=size) from error
    if written < size:
        raise ConnectionError(f"it ended after {format_bytes(written)} of {format_bytes(size)}")


def _read(reply: Any) -> Iterator[bytes]:
    return iter(partial(reply.read, BLOCK), b"")
