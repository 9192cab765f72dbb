"""Pictures out: annotated copies of images, and images sorted into folders by their answer.

Nothing is ever overwritten and no original is changed: a name that is taken gets a number.
"""

import csv
import io
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from PIL import ExifTags, Image

from threeages.errors import ImageError
from threeages.faces.images import load_image
from threeages.files.atomic import new_path, remove_leftovers, take_free_name
from threeages.files.disk import write_error
from threeages.files.writing import append_line
from threeages.inference.annotate import draw_faces
from threeages.inference.records import OK, TOGETHER, Record
from threeages.inference.writers import escape_formula

KEPT_FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}
QUALITY = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}
SEVERAL, UNREADABLE = "several", "unreadable"
EXCLUDED_FILE = "excluded.csv"
EXCLUDED_COLUMNS = ("path", "folder", "copy", "reason")
TEXT_TAGS = frozenset({270, 271, 272, 274, 282, 283, 296, 305, 306, 315, 33432})  # what is said of the image
_UNTURN = {  # the inverse of what shows an image of that EXIF orientation upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


class PictureWriter(Protocol):
    """Takes the records of one image at a time."""

    def add(self, path: Path, records: Sequence[Record]) -> None:
        """Write what belongs to the image."""

    def close(self) -> str:
        """End the output, and say in a sentence what was written."""


def write_pictures(records: Iterable[Record], writers: Sequence[PictureWriter]) -> Iterator[Record]:
    """Yield the records as they come, once their image was given to every writer.

    The record of several images together belongs to no file and is given to none.
    """
    if not writers:
        yield from records
        return
    for path, found in groupby(records, key=lambda record: record.path):
        group = list(found)
        for writer in writers if not _is_together(group) else ():
            writer.add(Path(path), group)
        yield from group


def _is_together(records: Sequence[Record]) -> bool:
    return records[0].path == TOGETHER and not Path(TOGETHER).is_file()


def open_pictures(save: Path | None, sort: Path | None, link: bool) -> list[PictureWriter]:
    """The writers for the folders that are given."""
    annotated: list[PictureWriter] = [AnnotatedCopies(save)] if save else []
    return [*annotated, *([SortedCopies(sort, link=link)] if sort else [])]


class AnnotatedCopies:
    """Writes a copy of every readable image with its faces drawn, in full resolution.

    A copy has the format, the EXIF data and the orientation of its original; a format that Pillow does not
    write as a photo becomes PNG. Raises DataError where the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written = self._unreadable = 0
        remove_leftovers(folder)

    def add(self, path: Path, records: Sequence[Record]) -> None:
        """Write the copy of one image; an image that cannot be read has none."""
        try:
            annotated = draw_faces(load_image(path), records)
        except ImageError:
            self._unreadable += 1
            return
        kind, settings, orientation = _read_settings(path)
        image = Image.fromarray(annotated)
        if orientation in _UNTURN:
            image = image.transpose(_UNTURN[orientation])
        suffix = path.suffix if _keeps_suffix(path, kind) else f"{path.suffix}{KEPT_FORMATS[kind]}"
        written = io.BytesIO()
        image.save(written, kind, **settings)
        with new_path(self._folder / f"{path.stem}{suffix}", need=len(written.getbuffer())) as part:
            part.write_bytes(written.getbuffer())
        self._written += 1

    def close(self) -> str:
        """Say how many copies were written."""
        unreadable = f"; {self._unreadable:,} images could not be read" if self._unreadable else ""
        return f"{self._written:,} annotated copies in {self._folder}{unreadable}."


class SortedCopies:
    """Copies every image into the folder of its answer, or links it there.

    The folders are YOUNG, MIDDLE and OLD, one for each rejection reason, `several` for an image whose faces
    differ in their answers, and `unreadable`. An image is in the folder of an age group only where every face
    has that answer. `excluded.csv` gives path, folder, copy and reason of every other image. Raises DataError
    where the folder cannot be written.
    """

    def __init__(self, folder: Path, *, link: bool = False) -> None:
        self._folder, self._link = folder, link
        self._counts: Counter[str] = Counter()
        for place in (folder, *folder.glob("*/")):
            remove_leftovers(place)
        header = _format_row(EXCLUDED_COLUMNS).encode()
        with (new := new_path(folder / EXCLUDED_FILE, need=len(header))) as part:
            part.write_bytes(header)
        self._list = new.path

    def add(self, path: Path, records: Sequence[Record]) -> None:
        """Copy one image, and list it where it is excluded from the age groups."""
        name, reason = find_folder(records)
        self._counts[name] += 1
        copy = self._place(path, self._folder / name)
        if reason:
            cells = (str(path), name, str(copy.relative_to(self._folder)) if copy else "", reason)
            append_line(self._list, _format_row([escape_formula(cell) for cell in cells]))

    def close(self) -> str:
        """Say how many images are in each folder."""
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(self._counts.items()))
        return f"Sorted into {self._folder}: {counts or 'nothing'}. Reasons: {self._list}."

    def _place(self, path: Path, folder: Path) -> Path | None:
        """The copy of a file or the link to it; None where there is no file that can be copied."""
        if not path.is_file() or not (self._link or _is_readable(path)):
            return None
        if self._link:
            return _link_new(folder / path.name, path.resolve())
        with (new := new_path(folder / path.name, need=path.stat().st_size)) as part:
            shutil.copy2(path, part)
        return new.path


def find_folder(records: Sequence[Record]) -> tuple[str, str]:
    """The folder for an image by the records of its faces, and why it is no age group's ('' where it is)."""
    answers = [record.age_group if record.status == OK else record.status for record in records]
    first = records[0]
    if first.failed:
        return UNREADABLE, f"{first.status}: {first.message}"
    if len(set(answers)) > 1:
        return SEVERAL, f"{len(answers)} faces with different answers: {', '.join(map(str, answers))}"
    return str(answers[0]), "" if first.status == OK else first.message


def _link_new(path: Path, target: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return take_free_name(path, lambda free: free.symlink_to(target))
    except OSError as error:
        raise write_error(path, error) from error


def _format_row(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _read_settings(path: Path) -> tuple[str, dict[str, Any], int]:
    """Format, settings of Pillow's `save` and EXIF orientation that keep what a file says of its image."""
    try:
        with Image.open(path) as image:
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            exif, icc = image.getexif(), image.info.get("icc_profile")
            raw = image.info.get("exif") or exif.tobytes()
            colored = image.mode in {"RGB", "RGBA"}  # a profile of greys or CMYK does not fit the copy
    except (OSError, ValueError, SyntaxError):  # of a format that another decoder read
        return "PNG", {}, 1
    kind = kind if kind in KEPT_FORMATS else "PNG"
    settings: dict[str, Any] = dict(QUALITY.get(kind, {}))
    if len(exif):
        settings["exif"] = _select_tags(exif) if kind == "TIFF" else raw
    if icc and colored:
        settings["icc_profile"] = icc
    return kind, settings, int(exif.get(ExifTags.Base.Orientation, 1) or 1)


def _select_tags(exif: Image.Exif) -> Image.Exif:
    """Those tags of a TIFF that do not say how its pixels are stored."""
    kept = Image.Exif()
    kept.update({tag: value for tag, value in exif.items() if tag in TEXT_TAGS})
    return kept


def _keeps_suffix(path: Path, kind: str) -> bool:
    """Whether the copy's format is the one that the name of the original says."""
    return Image.registered_extensions().get(path.suffix.lower()) in {kind, "MPO" if kind == "JPEG" else kind}


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False
