"""AgeDB (Moschoglou et al. 2017): photos of well-known people over many years.

Layout of https://ibug.doc.ic.ac.uk/resources/agedb/: files NUMBER_NAME_AGE_GENDER.jpg (0_..._35_f.jpg) in
one folder or in one a person. The identity is a digest of the name; the paths, which stay as they are,
hold the name itself.
"""

import re

from threeages.data.importing.rows import SourceRows
from threeages.data.importing.sets.layout import Files, Layout, match_most, name_gender
from threeages.data.importing.sets.pseudonyms import create_pseudonym

NAME = "agedb"
_FILE = re.compile(r"\d+_(?P<who>.*[^\W\d_].*)_(?P<age>\d{1,3})_(?P<gender>[mf])\.\w+", re.IGNORECASE)


def _finds(files: Files) -> bool:
    return match_most(_FILE, [image.name for image in files.images])


def _read(files: Files) -> SourceRows:
    found = SourceRows(NAME, files.folder, [])
    for image in files.images:
        match = _FILE.fullmatch(image.name)
        if not match:
            found.excluded["no_age"] += 1
            continue
        found.rows.append({
            "path": files.relative(image), "age": match["age"],
            "gender": name_gender(match["gender"]), "source": NAME,
            "identity": create_pseudonym(NAME, match["who"]),
        })  # fmt: skip
    return found


AGEDB = Layout(_finds, _read)
