"""The images below a folder: one walk with one set of rules for every command."""

import glob
import mimetypes
import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

from PIL import Image

from threeages.faces.formats import FORMATS
from threeages.faces.images import SUFFIXES

# Names that say "image" whatever the file holds, so that a damaged one gets a record and is not passed over.
IMAGE_SUFFIXES = SUFFIXES | {
    *(".jpe", ".jif", ".jfif", ".mpo", ".pgm", ".pbm", ".pnm", ".dib"),
    *(".heic", ".heif", ".hif", ".avif"),
}
# A camera's raw file is a TIFF by its first bytes, but holds sensor data and a preview of unknown size.
RAW_SUFFIXES = frozenset({
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw",
    ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
})  # fmt: skip
COPY_SUFFIXES = frozenset({".part", ".partial", ".crdownload", ".download", ".tmp", ".bak", ".orig"})
SYSTEM_NAMES = frozenset({
    "__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "$recycle.bin",
    "system volume information", "lost+found", "@eadir", "#recycle", "#snapshot",
})  # fmt: skip
_FTYP_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis"})
_TYPES = mimetypes.MimeTypes(filenames=())  # the built-in table only: the same rules on every system
MAX_KINDS = 8  # kinds of passed-over files that one line names


@dataclass
class FoundFiles:
    """What a walk found: images and other visible files, each nearest first, and counts of the rest.

    `skipped` counts by kind what is never looked into: hidden and system names, broken links, folders reached
    a second time.
    """

    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def passed_over(self, used: Path | None = None) -> Counter[str]:
        """Number of entries that are no images, by kind (a suffix for a file), without the file `used`."""
        return self.skipped + Counter(_kind(path) for path in self.others if path != used)


def find_images(folder: Path, *, depth: int | None = None) -> FoundFiles:
    """Every image in a folder and its subfolders, down to `depth` levels of them.

    A file counts as an image by its suffix, or by its first bytes where the suffix is missing or unusual.
    Links are followed; each folder is entered once, by its own path where it has one below `folder`. Hidden
    names, `__MACOSX`, Thumbs.db and the like are skipped.
    """
    found = FoundFiles()
    for path in sorted(_walk(folder, depth, found.skipped), key=lambda path: _nearest_first(path, folder)):
        (found.images if is_image(path) else found.others).append(path)
    return found


def iterate_images(folder: Path, passed_over: Counter[str]) -> Iterator[Path]:
    """The images of `find_images`, as the disk lists them, while the folder is still being walked.

    The other files are counted by kind in `passed_over`. Of each folder no more than the names of its
    subfolders is held.
    """
    for path in _walk(folder, None, passed_over):
        if is_image(path):
            yield path
        else:
            passed_over[_kind(path)] += 1


def count_candidates(folder: Path) -> int:
    """The number of files that may be images by their names: about as many as `iterate_images` yields."""
    return sum(is_image_name(path.name) is not False for path in _walk(folder, None, Counter()))


def match_images(pattern: str) -> FoundFiles:
    """The images among the files that match a pattern with `*`, `?`, `[...]` and, for any folders, `**`.

    They follow the rules of `find_images`, so that a loop of links below `**` ends.
    """
    found = FoundFiles()
    for path in _match(pattern, found.skipped):
        if skipped_kind(path.name) or not SYSTEM_NAMES.isdisjoint(part.lower() for part in path.parts):
            found.skipped[skipped_kind(path.name) or "system"] += 1
        elif path.is_file():
            (found.images if is_image(path) else found.others).append(path)
    return found


def _match(pattern: str, skipped: Counter[str]) -> Iterator[Path]:
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from map(Path, glob.glob(pattern))  # noqa: PTH207 - Path.glob takes no absolute pattern
        return
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    folder = Path(*parts[:first])
    for path in _walk(folder, None, skipped) if folder.is_dir() else ():
        if _fits(path.relative_to(folder).parts, parts[first:]):
            yield path


def _fits(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or _fits(parts[1:], pattern)
    return fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def describe_passed_over(kinds: Counter[str]) -> str:
    """One line such as 'Passed over: .txt 3, hidden 1.'; '' where there are none."""
    if not kinds:
        return ""
    ranked = kinds.most_common()
    rest = sum(count for _, count in ranked[MAX_KINDS:])
    named = ranked[:MAX_KINDS] + ([("others", rest)] if rest else [])
    return f"Passed over: {', '.join(f'{kind} {count:,}' for kind, count in named)}."


def is_image(path: Path) -> bool:
    """Whether a file's suffix is an image's or, where it is missing or unusual, its first bytes are."""
    known = is_image_name(path.name)
    if known is not None:
        return known
    try:
        with path.open("rb") as file:
            return holds_image(file)
    except OSError:
        return False


def is_image_name(name: str) -> bool | None:
    """Whether a file of that name is an image; None where its first bytes decide."""
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return True
    return False if suffix in RAW_SUFFIXES or _is_copy(path) or _is_other_type(path) else None


def _is_copy(path: Path) -> bool:
    """An unfinished download or an editor's backup of another file."""
    return path.suffix.lower() in COPY_SUFFIXES or path.name.endswith(("~", "_original"))


def _is_other_type(path: Path) -> bool:
    kind = _TYPES.types_map[True].get(path.suffix.lower(), "")
    return bool(kind) and not kind.startswith("image/") and kind != "application/octet-stream"


def holds_image(file: IO[bytes]) -> bool:
    """Whether a file is an image by its first bytes."""
    try:
        head = file.read(12)
        if head[4:8] == b"ftyp":
            return head[8:12] in _FTYP_BRANDS
        file.seek(0)
        Image.open(file, formats=FORMATS).close()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return True  # a huge image is one: its record says so
    except Exception:  # unreadable, or a header that one of Pillow's parsers stumbles over
        return False
    return True


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in RAW_SUFFIXES:
        return f"camera raw ({suffix})"
    return "unfinished or backup" if _is_copy(path) else suffix or "no suffix"


def skipped_kind(name: str) -> str:
    """Why a name is never looked into, '' where it is: hidden or system."""
    if name.lower() in SYSTEM_NAMES:
        return "system"
    return "hidden" if name.startswith(".") and name not in {".", ".."} else ""


def _nearest_first(path: Path, folder: Path) -> tuple[tuple[bool, str], ...]:
    """Sorts the files of a folder before those of its subfolders."""
    *folders, name = path.relative_to(folder).parts
    return (*((True, part) for part in folders), (False, name))


def _walk(folder: Path, depth: int | None, skipped: Counter[str]) -> Iterator[Path]:
    """Visible files; linked folders are entered last, so that a folder below `folder` keeps its own path."""
    real = folder.resolve()
    above = {_identity(parent) for parent in real.parents}
    seen: set[tuple[int, int]] = set()
    waiting = deque([(folder, 0)])
    links: deque[tuple[Path, int]] = deque()
    while waiting or links:
        path, level = (waiting or links).popleft()
        identity = _identity(path)
        if identity is None:
            skipped["unreadable"] += 1
        elif identity in seen or identity in above:
            skipped["folder reached twice"] += 1
        else:
            seen.add(identity)
            for entry in _entries(path, skipped):
                if not entry.is_dir():
                    yield Path(entry.path)
                elif depth is None or level < depth:
                    (links if _is_link(entry) else waiting).append((Path(entry.path), level + 1))


def _entries(folder: Path, skipped: Counter[str]) -> Iterator[os.DirEntry[str]]:
    """Visible plain files of a folder as the disk lists them, then its visible folders by name."""
    folders = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if kind := skipped_kind(entry.name) or _odd_kind(entry):
                    skipped[kind] += 1
                elif entry.is_dir():
                    folders.append(entry)
                else:
                    yield entry
    except OSError:
        skipped["unreadable"] += 1
    yield from sorted(folders, key=lambda entry: entry.name)


def _odd_kind(entry: os.DirEntry[str]) -> str:
    """Why an entry is neither a folder nor a plain file, '' where it is one."""
    try:
        if entry.is_file() or entry.is_dir():
            return ""
    except OSError:  # a loop of links, a folder that may not be entered
        return "unreadable"
    return "broken link" if entry.is_symlink() else "special file"


def _is_link(entry: os.DirEntry[str]) -> bool:
    """Whether a folder is a symbolic link, or a junction of Windows (from Python 3.12 on)."""
    return entry.is_symlink() or bool(getattr(entry, "is_junction", bool)())


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
