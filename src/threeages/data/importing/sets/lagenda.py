"""LAGENDA (Kuprashevich and Tolstykh 2023): photos of Open Images with several annotated faces each.

Layout of https://github.com/WildChlamydia/MiVOLO (mivolo/data/data_reader.py): one csv with the columns
img_name, age, gender, face_x0, face_y0, face_x1, face_y1 and boxes of persons, and a folder of images; -1
stands for what is not known. The same columns hold the authors' annotations of other sets, so that the name
`lagenda` must be in that of the csv or of a folder above it.
"""

from threeages.data.importing.rows import SourceRows
from threeages.data.importing.sets.layout import (
    Files,
    ImageIndex,
    Layout,
    find_tables,
    name_gender,
    need_tables,
    read_box,
)
from threeages.files.csvfiles import read_csv

NAME = "lagenda"
BOX_COLUMNS = ("face_x0", "face_y0", "face_x1", "face_y1")
COLUMNS = ("img_name", "age", "gender", *BOX_COLUMNS)


def _finds(files: Files) -> bool:
    tables = find_tables(files, COLUMNS)
    names = [table.relative_to(files.folder.parent).as_posix().casefold() for table in tables]
    return any(NAME in name for name in names)


def _read(files: Files) -> SourceRows:
    found, index = SourceRows(NAME, files.folder, []), ImageIndex(files)
    for table in need_tables(files, COLUMNS, "LAGENDA"):
        for row in read_csv(table).rows:
            path, box = index.find(row["img_name"], anywhere=True), read_box(row, BOX_COLUMNS)
            if path is None:
                found.missing.append(row["img_name"])
            elif row["age"] == "-1":
                found.excluded["no_age"] += 1
            elif box is None:
                found.excluded["no_face_box"] += 1
            else:
                others = {"gender": name_gender(row["gender"]), "source": NAME}
                found.rows.append({"path": path, "age": row["age"]} | others | box)
    return found


LAGENDA = Layout(_finds, _read)
