"""Image paths of a table: which lie inside the root, and which file on disk each one means."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from threeages.errors import ImageError
from threeages.faces.folders import find_images

_DRIVE = re.compile(r"[a-zA-Z]:[\\/]")
SEARCH_DEPTH = 3  # levels of folders below the root in which a bare file name is looked for


def path_inside(name: str, root: Path) -> str | None:
    """The path relative to `root`, with '/', by its own place: a link inside may point anywhere.

    `..` is resolved by name. None where the path leaves the root or is no name that a file can have. `\\` is
    read as '/', unless a file has that name.
    """
    if not name or "\0" in name:
        return None
    if "\\" in name and not _exists(root / name):
        name = name.replace("\\", "/")
    if os.name != "nt" and _DRIVE.match(name):
        return None
    for place in (root / name, _resolve_parent(Path(name)) if Path(name).is_absolute() else None):
        plain = Path(os.path.normpath(place)) if place else root
        if plain != root and plain.is_relative_to(root):
            return plain.relative_to(root).as_posix()
    return None


def place_inside(name: str, root: Path) -> Path:
    """The file below `root` that a path in a table names.

    Tables come from others: what they name elsewhere on this disk is not read. Raises ImageError, of the
    status `outside_root`.
    """
    folder = root.resolve()
    inside = path_inside(name, folder)
    if inside is None:
        raise ImageError(
            "outside_root", f"The path is not inside {root}.", hint="Name another folder with --root."
        )
    return folder / inside


def common_folder(names: Iterable[str]) -> str:
    """The folder that all absolute paths among `names` share, '' where there is none of use."""
    absolute = [name for name in names if _is_absolute(name)]
    windows = any(_DRIVE.match(name) or name.startswith("\\\\") for name in absolute)
    kind = PureWindowsPath if windows else PurePosixPath
    folders = [kind(name).parent for name in absolute]
    if not folders:
        return ""
    first, *others = folders
    shared = next((p for p in (first, *first.parents) if all(o.is_relative_to(p) for o in others)), first)
    return "" if shared == kind(shared.anchor) else str(shared)


def root_hint(outside: Sequence[str]) -> str:
    """What to do about paths that leave the root."""
    folder = common_folder(outside)
    if folder and Path(folder).is_dir():
        return f"If the images lie there, give --root '{folder}'."
    if folder:
        return (
            f"They lie below '{folder}', which is not here. Make them relative. Name the folder of the "
            "images with --root."
        )
    return "Paths are relative to the root. Name another folder with --root."


class FileFinder:
    """Finds the file that a name in a table means.

    That is the path itself; else a file of that folder with the same name in another case or Unicode form, or
    with a suffix that the name lacks; else, for a bare name, the only such image in a subfolder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, dict[str, list[str]]] = {}

    def find(self, name: str) -> str | None:
        """The path, relative to the root, of the one file that a name means; None for none or several."""
        if _is_file(self.root / name):
            return name
        folder, _, last = name.rpartition("/")
        here = self._in_folder(folder).get(_key(last), [])
        found = here or ([] if folder else self._below.get(_key(last), []))
        return found[0] if len(found) == 1 else None

    def _in_folder(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._folders:
            self._folders[folder] = _index(self.root, find_images(self.root / folder, depth=0).images)
        return self._folders[folder]

    @cached_property
    def _below(self) -> dict[str, list[str]]:
        return _index(self.root, find_images(self.root, depth=SEARCH_DEPTH).images)


def _index(root: Path, images: list[Path]) -> dict[str, list[str]]:
    """Images by name and by name without suffix."""
    found: dict[str, list[str]] = defaultdict(list)
    for image in images:
        path = image.relative_to(root).as_posix()
        for key in dict.fromkeys((_key(image.name), _key(image.stem))):
            found[key].append(path)
    return found


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_absolute(name: str) -> bool:
    return PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()


def _resolve_parent(path: Path) -> Path | None:
    try:
        return path.parent.resolve() / path.name
    except (OSError, RuntimeError):  # a loop of links
        return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
