"""Images that a parquet names in a column of paths, or holds in one of bytes."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threeages.errors import ConfigError, ImageError
from threeages.files.arrow import import_arrow
from threeages.inference.bulk.listings import damaged
from threeages.inference.sources import Source

if TYPE_CHECKING:
    from threeages.inference.bulk.listings import ListingReader

ROWS = 64  # that are decoded at once


def read_parquet(path: Path, reader: "ListingReader") -> Iterator[Source]:
    """Yield the image of every row.

    A column of text holds paths; one of bytes, or of structs with `bytes` and `path` as the data sets of
    Hugging Face have, holds the images: their names are that of the file, '/' and the row's number from 0, or
    its value in the reader's `id_column`. Raises DataError where the file is damaged, after the row groups
    that are not, and ConfigError where a column is missing or of another type.
    """
    arrow, parquet = import_arrow()
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            column = reader.find_column(path, file.schema_arrow.names)
            _check(path, arrow, file.schema_arrow, column, reader.id_column)
            yield from _read_groups(path, file, column, reader)
    except (arrow.ArrowException, OSError) as error:
        raise damaged(path, error) from error


def _read_groups(path: Path, file: Any, column: str, reader: "ListingReader") -> Iterator[Source]:
    """The images of all row groups but the damaged ones; the first damage is raised at the end."""
    arrow, _ = import_arrow()
    damage, start = None, 0
    for number in range(file.num_row_groups):
        row = start
        try:
            for values, ids in _batches(file, number, column, reader.id_column):
                for i, value in enumerate(values):
                    yield _source(value, f"{path}/{ids[i] if ids else row}", reader)
                    row += 1
        except (arrow.ArrowException, OSError) as error:
            damage = damage or error
        start += file.metadata.row_group(number).num_rows
    if damage:
        raise damage


def count_rows(path: Path) -> int | None:
    """The number of rows that the file states; None where it cannot be read."""
    arrow, parquet = import_arrow()
    try:
        return int(parquet.read_metadata(path).num_rows)
    except (arrow.ArrowException, OSError):
        return None


def _batches(
    file: Any, number: int, column: str, id_column: str | None
) -> Iterator[tuple[list[Any], list[Any] | None]]:
    """Values of the column of a row group, and the names of its rows."""
    names = [column, *([id_column] if id_column else [])]
    for batch in file.iter_batches(ROWS, row_groups=[number], columns=names, use_threads=False):
        yield batch.column(column).to_pylist(), batch.column(id_column).to_pylist() if id_column else None


def _source(value: Any, name: str, reader: "ListingReader") -> Source:
    if isinstance(value, dict):
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if isinstance(value, bytes):
        return Source(name, value)
    if value is None:
        return Source(name, ImageError("missing", "The row holds no image.", hint="Give it a path or bytes."))
    return reader.locate(value, name)


def _check(path: Path, arrow: Any, schema: Any, column: str, id_column: str | None) -> None:
    if id_column is not None and id_column not in schema.names:
        raise ConfigError(
            f"{path} has no column '{id_column}'; it has {', '.join(schema.names)}.",
            hint="Name the column of the images' names: --id-column NAME.",
        )
    kind, types = schema.field(column).type, arrow.types
    fits = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    if any(fit(kind) for fit in fits) or _is_image_struct(types, kind):
        return
    if types.is_dictionary(kind) and types.is_string(kind.value_type):
        return
    raise ConfigError(
        f"The column '{column}' of {path} is of the type {kind}.",
        hint="It needs text (paths) or bytes (images). Name another column: --column NAME.",
    )


def _is_image_struct(types: Any, kind: Any) -> bool:
    return bool(types.is_struct(kind)) and kind.get_field_index("bytes") >= 0
