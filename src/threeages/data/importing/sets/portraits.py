"""Portraits of several sources in one folder: years, or a range of them, and how they are known.

Layout: `portraits.csv` with the columns path,person,age,age_how,age_low,age_high,source, and the images
beside it. Faces without an age are kept without a label. A person's pseudonym holds over all sources of the
folder.
"""

from threeages.data.importing.rows import SourceRows
from threeages.data.importing.sets.layout import Files, Layout, find_tables, need_tables
from threeages.data.paths import path_inside
from threeages.files.csvfiles import read_csv

NAME = "portraits"
COLUMNS = ("path", "person", "age", "age_how", "age_low", "age_high", "source")


def _finds(files: Files) -> bool:
    return bool(find_tables(files, COLUMNS))


def _read(files: Files) -> SourceRows:
    found = SourceRows(NAME, files.folder, [], keeps_unlabelled=True)
    there = {files.relative(image) for image in files.images}
    for table in need_tables(files, COLUMNS, "portraits"):
        inside = table.is_relative_to(files.folder)
        base = table.parent.relative_to(files.folder).as_posix() if inside else "."
        for row in read_csv(table).rows:
            path = path_inside(f"{base}/{row['path']}" if row["path"] else "", files.folder)
            if path is not None and path not in there:
                found.missing.append(row["path"])
                continue
            person = {"identity": row["person"]}
            rest = {name: cell for name, cell in row.items() if name not in {"path", "person", "label"}}
            found.rows.append({"path": path or row["path"]} | person | rest)
    return found


PORTRAITS = Layout(_finds, _read)
