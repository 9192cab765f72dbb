"""APPA-REAL (Agustsson et al. 2017, ChaLearn): real ages, and apparent ages by many raters.

Layout of https://chalearnlap.cvc.uab.cat/dataset/26/description/: `gt_avg_train.csv`, `gt_avg_valid.csv` and
`gt_avg_test.csv` with the columns file_name, num_ratings, apparent_age_avg, apparent_age_std, real_age, and
folders `train/`, `valid/` and `test/` with X.jpg and its face X.jpg_face.jpg. The face is taken where it is
there. `age` is the real age; the raters' mean goes into the column `apparent_age`.
"""

import re

from threeages.data.importing.rows import SourceRows
from threeages.data.importing.sets.layout import Files, ImageIndex, Layout, find_tables, need_tables
from threeages.files.csvfiles import read_csv

NAME = "appa-real"
COLUMNS = ("file_name", "apparent_age_avg", "real_age")
_TABLE = re.compile(r"gt_avg_(?P<split>\w+)\.csv", re.IGNORECASE)


def _finds(files: Files) -> bool:
    return bool(find_tables(files, COLUMNS))


def _read(files: Files) -> SourceRows:
    found, index = SourceRows(NAME, files.folder, []), ImageIndex(files)
    for table in need_tables(files, COLUMNS, "APPA-REAL"):
        match = _TABLE.fullmatch(table.name)
        split = match["split"].lower() if match else ""
        for row in read_csv(table).rows:
            name = f"{split}/{row['file_name']}" if split else row["file_name"]
            path = index.find(f"{name}_face.jpg") or index.find(name)
            if path is None:
                found.missing.append(name)
                continue
            found.rows.append({
                "path": path, "age": row["real_age"], "apparent_age": row["apparent_age_avg"],
                "source": NAME, "published_split": split,
            })  # fmt: skip
    return found


APPA_REAL = Layout(_finds, _read)
