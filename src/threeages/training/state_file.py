"""A training's state on disk: written whole, checked when read, and the one before kept beside it."""

import errno
import io
import logging
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from threeages.errors import ModelError, describe_cause
from threeages.files.atomic import atomic_path
from threeages.files.disk import flush_to_disk

logger = logging.getLogger(__name__)

ZIP_START = b"PK\x03\x04"  # of every file that torch writes; a halved one still has it
MARK = b"threeages crc32 "  # the zip's comment, which torch skips; eight digits of the bytes before follow
MARK_LENGTH = len(MARK) + 8

Content = dict[str, Any]


class DamagedError(ModelError):
    """A checkpoint was written whole and is not whole any more."""


def serialize_content(content: Mapping[str, Any]) -> memoryview:
    """The bytes of a checkpoint of plain values and tensors; the same values give the same bytes.

    They end with their own checksum: torch compares none, and reads some damaged files in silence.
    """
    buffer = io.BytesIO()
    torch.save(_canonical(content), buffer)
    buffer.seek(-2, io.SEEK_END)  # a zip ends with the length of its comment
    buffer.write(MARK_LENGTH.to_bytes(2, "little"))
    buffer.write(MARK + b"%08x" % zlib.crc32(buffer.getbuffer()))
    return buffer.getbuffer()


def read_content(path: Path, hint: str) -> Content:
    """What a checkpoint holds, its tensors on the CPU.

    Raises DamagedError where a bit of it is not as it was written, and ModelError where the file is missing,
    cannot be read or was never a checkpoint; `hint` says what to do in each case.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"There is no checkpoint {path}.", hint=hint) from error
    except OSError as error:
        kind = DamagedError if error.errno == errno.EIO else ModelError
        raise kind(f"Cannot read {path}: {describe_cause(error)}.", hint=hint) from error
    _check_bytes(path, data, hint)
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, key and runtime errors on a foreign zip
        raise foreign_error(path, type(error).__name__, hint) from error
    if not isinstance(content, dict):
        raise foreign_error(path, f"it holds {type(content).__name__}", hint)
    return content


def foreign_error(path: Path, reason: str, hint: str) -> ModelError:
    """The file is whole, but no checkpoint of this package."""
    return ModelError(f"{path} is not a checkpoint of threeages: {reason}.", hint=hint)


def write_state(path: Path, previous: Path, content: Mapping[str, Any]) -> None:
    """Write a state durably; the one in `path` takes the name `previous` just before.

    A kill or a loss of power between the two renames leaves `previous` alone, from which `read_state`
    resumes. Raises DataError where the disk is full; both files are then as they were.
    """
    data = serialize_content(content)
    with atomic_path(path, durable=True, need=len(data)) as part:
        part.write_bytes(data)
        flush_to_disk(part)  # before the older state gives up its name
        if path.exists():
            path.replace(previous)


def read_state(
    path: Path, previous: Path, describe: Callable[[Content], str], start_over: str, *, kind: str = ""
) -> Content | None:
    """The state in `path`, None where neither file is there.

    Where it is damaged, or a kill kept it from its name, `previous` takes its place, and a warning in the
    log says so with the words of `describe` for where the training resumes. A checkpoint whose `kind` is
    another is none of this training and treated the same. Raises DamagedError where neither can be read,
    ModelError where the only one is none of ours; `start_over` is the hint.
    """
    if not path.exists() and not previous.exists():
        return None
    try:
        return _read_kind(path, kind, start_over)
    except ModelError as error:
        if isinstance(error.__cause__, OSError) and path.exists() and not isinstance(error, DamagedError):
            raise  # it may be whole: a folder of that name, or no permission
        content = _read_previous(previous, kind, error, start_over)
    reason = "is damaged" if path.exists() else "is missing"
    previous.replace(path)  # at once, so that the damaged one never becomes the one before
    logger.warning("%s %s; resuming from the state before it, at %s.", path, reason, describe(content))
    return content


def _read_previous(previous: Path, kind: str, fault: ModelError, hint: str) -> Content:
    if not previous.exists() and not isinstance(fault, DamagedError):
        raise fault
    try:
        return _read_kind(previous, kind, hint)
    except ModelError as error:
        beside = "is damaged as well" if previous.exists() else "is not there"
        message = f"{fault.message} The state before it, {previous.name}, {beside}."
        raise DamagedError(message, hint=hint) from error


def _read_kind(path: Path, kind: str, hint: str) -> Content:
    content = read_content(path, hint)
    if kind and content.get("kind") != kind:
        raise foreign_error(path, f"it holds no {kind} to resume", hint)
    return content


def _check_bytes(path: Path, data: bytes, hint: str) -> None:
    """Raise DamagedError or ModelError unless the bytes end with their own checksum."""
    end = max(len(data) - MARK_LENGTH, 0)
    if data[end:] == MARK + b"%08x" % zlib.crc32(memoryview(data)[:end]):
        return
    ours = data[end:].startswith(MARK) or not data.strip(b"\0")
    if not ours and (not data.startswith(ZIP_START) or _is_whole_zip(data)):
        raise foreign_error(path, "it was written by another program or an earlier release", hint)
    raise DamagedError(f"{path} is damaged: its content is not what was written.", hint=hint)


def _is_whole_zip(data: bytes) -> bool:
    """Whether it is a zip without damage that never had a checksum of its own."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as records:
            return not records.comment and records.testzip() is None
    except Exception:  # a flipped bit may call for a password, another compression or a codec
        return False


def _canonical(value: Any) -> Any:
    """The same content in fresh containers and interned strings: pickle writes down which are one object."""
    if isinstance(value, Mapping):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_canonical(item) for item in value])
    if isinstance(value, str):
        return sys.intern(str(value))
    if isinstance(value, torch.Tensor):
        return _canonical_tensor(value.detach())
    return value


def _canonical_tensor(value: torch.Tensor) -> torch.Tensor:
    """On the CPU, without the rest of a storage that it is a part of; its memory format stays."""
    value = value.cpu()
    whole = value.untyped_storage().nbytes() == value.numel() * value.element_size()
    return value if whole else value.clone()
