"""IMDB-clean (Lin et al. 2022): IMDB-WIKI's photos of actors with annotations cleaned of wrong faces.

Layout of https://github.com/yiminglin-ai/imdb-clean: `csvs/imdb_{train,valid,test}_new_1024.csv` with the
columns filename, age, gender, x_min, y_min, x_max, y_max and angles of the head, for the images below
`data/imdb-clean-1024/`. The csv without `_1024` are for the photos below `data/imdb/`. A file's name begins
with the number of who is shown, nm0000000_: the identity is a digest of it.
"""

import re

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
from threeages.data.importing.sets.pseudonyms import create_pseudonym
from threeages.files.csvfiles import read_csv

NAME = "imdb-clean"
BOX_COLUMNS = ("x_min", "y_min", "x_max", "y_max")
COLUMNS = ("filename", "age", "gender", *BOX_COLUMNS)
CROPPED = "1024"  # in the names of the csv files and of the folder of the cropped photos
_FILE = re.compile(r"(?P<who>nm\d+)_")
_SPLIT = re.compile(r"imdb_(?P<split>train|valid|test)_", re.IGNORECASE)


def _finds(files: Files) -> bool:
    return any(_SPLIT.match(table.name) for table in find_tables(files, COLUMNS))


def _read(files: Files) -> SourceRows:
    found, index = SourceRows(NAME, files.folder, []), ImageIndex(files)
    tables = need_tables(files, COLUMNS, "IMDB-clean")
    cropped = [table for table in tables if CROPPED in table.name]
    for table in cropped or tables:
        split = _SPLIT.match(table.name)
        for row in read_csv(table).rows:
            path = index.find(row["filename"], prefer=CROPPED if cropped else "imdb/")
            box = read_box(row, BOX_COLUMNS)
            who = _FILE.match(row["filename"].rpartition("/")[2])
            if path is None:
                found.missing.append(row["filename"])
            elif box is None:
                found.excluded["no_face_box"] += 1
            else:
                others = {"gender": name_gender(row["gender"]), "source": NAME}
                others["identity"] = create_pseudonym(NAME, who["who"]) if who else ""
                others["published_split"] = split["split"].lower() if split else ""
                found.rows.append({"path": path, "age": row["age"]} | others | box)
    return found


IMDB_CLEAN = Layout(_finds, _read)
