"""What may be given as an image in Python, and what it is read from. Imports neither numpy nor Pillow."""

import inspect
import io
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeGuard

from threeages.errors import ImageError, describe_cause

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

ImageSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | NDArray[Any] | Image.Image| Source"
)
Content: TypeAlias = "Path | bytes | NDArray[Any] | Image.Image | ImageError"
AnyContent: TypeAlias = "Content | Deferred"
AnySource: TypeAlias = "ImageSource | AnyContent"
Images: TypeAlias = "ImageSource | Iterable[ImageSource]"
ALLOWED = (
    "Allowed: a path (str or os.PathLike), the bytes of a file, a file opened in binary mode, "
    "a Pillow image, a numpy array, or any number of these in a list or another iterable."
)


class Deferred(ABC):
    """Bytes of an image that are read where and when they are needed, maybe in another process."""

    @abstractmethod
    def load(self) -> bytes | ImageError:
        """The bytes, or why they cannot be read."""


@dataclass(frozen=True)
class FilePart(Deferred):
    """`size` bytes of a file from `offset` on, such as a member of a tar."""

    path: Path
    offset: int
    size: int

    def load(self) -> bytes | ImageError:
        """The bytes, or why they cannot be read."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            what = f"Cannot read {self.path}: {describe_cause(error)}."
            return ImageError("missing", what, hint="Every machine must see the file at the same place.")


@dataclass(frozen=True)
class Source:
    """One image: its name in the records, and the path, bytes, array or Pillow image it is read from.

    The content is an ImageError where a file object or a Pillow image could not be read.
    """

    name: str
    content: AnyContent


def open_sources(images: Images) -> Iterable[Source]:
    """A source for every image given, or for the only one; later ones are taken when they are needed.

    A lone image gives a list. File objects are read and Pillow images loaded here, in the thread that takes
    the source, so that the caller may close or reuse them afterwards; an array of an iterator is copied, as a
    camera may write its next frame into the same one. Raises TypeError at the call for an argument or an
    entry of a list that is no image, and while iterating for what another iterable yields.
    """
    rest = _list_images(images)
    if isinstance(rest, list | tuple):
        sources = (open_source(i, image) for i, image in enumerate(rest))
        return list(sources) if len(rest) <= 1 else sources
    return (_copy_array(open_source(i, image)) for i, image in enumerate(rest))


def _copy_array(source: Source) -> Source:
    return Source(source.name, source.content.copy()) if _is_array(source.content) else source


def open_source(i: int, image: ImageSource) -> Source:
    """The source of an image, the `i`-th of its call; raises TypeError where it is none.

    Its name is its path, or that of the file it was opened from, else `image-` and the number. A source keeps
    its name.
    """
    name = image.name if isinstance(image, Source) else _find_name(image)
    return Source(name or f"image-{i}", read_content(image))


def load_content(image: AnySource) -> Content:
    """What `read_content` gives, read where that was deferred."""
    content = read_content(image)
    return content.load() if isinstance(content, Deferred) else content


def read_content(image: AnySource) -> AnyContent:
    """What an image is read from; raises TypeError where it is no image.

    A file object is read from its start, where it can be rewound.
    """
    _check(image)
    if isinstance(image, Source):
        return read_content(image.content)
    if isinstance(image, str | os.PathLike):
        return Path(os.fsdecode(image))
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if _is_pillow(image):
        return _load(image)
    return _read(image) if _is_file(image) else image  # type: ignore[return-value]


def _list_images(images: Any) -> Iterable[ImageSource]:
    if _is_image(images) and not _is_array_of_images(images):
        _check(images)
        return [images]
    if isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise _not_allowed(images)
    if isinstance(images, list | tuple):
        for image in images:
            _check(image)
    return images


def _is_image(value: Any) -> bool:
    simple = (str, os.PathLike, bytes, bytearray, memoryview, ImageError, Deferred, Source)
    return isinstance(value, simple) or _is_file(value) or _is_array(value) or _is_pillow(value)


def _is_array_of_images(value: Any) -> bool:
    """Whether an array is a batch `(n, ...)` of several images, or a column of paths or other objects."""
    if not _is_array(value):
        return False
    return bool((value.ndim == 1 and value.dtype.kind in "OUS") or (value.ndim == 4 and len(value) > 1))


def _check(image: Any) -> None:
    if not _is_image(image):
        raise _not_allowed(image)
    if isinstance(image, io.TextIOBase):
        raise TypeError("The file was opened in text mode. Open it in binary mode: open(path, 'rb').")
    if _is_file(image) and inspect.iscoroutinefunction(image.read):
        raise TypeError(f"The read() of a {type(image).__name__} is awaited. Give its bytes: await it first.")


def _not_allowed(value: Any) -> TypeError:
    return TypeError(f"An image cannot be a {type(value).__name__}. {ALLOWED}")


def _is_array(value: Any) -> "TypeGuard[NDArray[Any]]":
    numpy = sys.modules.get("numpy")  # where nobody has imported it, nothing is an array
    return numpy is not None and isinstance(value, numpy.ndarray)


def _is_pillow(value: Any) -> "TypeGuard[Image.Image]":
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def _is_file(value: Any) -> TypeGuard[IO[bytes]]:
    return callable(getattr(value, "read", None))


def _find_name(image: Any) -> str:
    """The path of a path or of what was opened from one, else ''."""
    if isinstance(image, str | os.PathLike):
        return str(os.fsdecode(image))
    name = getattr(image, "filename", None) if _is_pillow(image) else getattr(image, "name", None)
    return name if isinstance(name, str) else ""


def _load(image: "Image.Image") -> Content:
    from threeages.faces.images import load_pillow

    try:
        return load_pillow(image)
    except ImageError as error:
        return error


def _read(file: IO[bytes]) -> bytes | ImageError:
    try:
        if getattr(file, "seekable", bool)():
            file.seek(0)
        data: Any = file.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        return ImageError(
            "missing", f"Cannot read the file: {describe_cause(error)}.", hint="Give an open file."
        )
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"The read() of a {type(file).__name__} gives {type(data).__name__}, not bytes.")
    return bytes(data)
