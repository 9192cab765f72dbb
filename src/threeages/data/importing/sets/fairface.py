"""FairFace (Karkkainen and Joo, WACV 2021): brackets of ages, faces from Flickr.

Layout of https://github.com/joojs/fairface: `fairface_label_train.csv` and `fairface_label_val.csv` with the
columns file,age,gender,race,service_test, beside them `train/` and `val/`, or a folder
`fairface-img-margin025-trainval` (or `margin125`) that holds both.
"""

from threeages.data.importing.rows import SourceRows
from threeages.data.importing.sets.layout import (
    Files,
    ImageIndex,
    Layout,
    find_tables,
    name_gender,
    need_tables,
)
from threeages.files.csvfiles import read_csv

NAME = "fairface"
COLUMNS = ("file", "age", "gender", "race")
TIGHT = "margin025"  # of the two published crops the one with less around the face
LAST = "more than 70"  # as published; it follows 60-69 and holds the year 70


def _finds(files: Files) -> bool:
    tables = find_tables(files, COLUMNS)
    return any(
        path.name.lower().startswith("fairface_label") or "service_test" in files.columns[path]
        for path in tables
    )


def _read(files: Files) -> SourceRows:
    found, index = SourceRows(NAME, files.folder, []), ImageIndex(files)
    for table in need_tables(files, COLUMNS, "FairFace"):
        for row in read_csv(table).rows:
            path = index.find(row["file"], prefer=TIGHT)
            if path is None:
                found.missing.append(row["file"])
                continue
            found.rows.append({
                "path": path, "age": "70+" if row["age"].casefold() == LAST else row["age"],
                "gender": name_gender(row["gender"]), "race": row["race"], "source": NAME,
                "published_split": row["file"].partition("/")[0],
            })  # fmt: skip
    return found


FAIRFACE = Layout(_finds, _read)
