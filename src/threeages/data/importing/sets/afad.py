"""AFAD (Niu et al., CVPR 2016): Asian faces from a social network with the age in their profile.

Layout of https://github.com/afad-dataset/tarball: AGE/GENDER/NUMBER-FACE.jpg below `AFAD-Full` or
`AFAD-Lite`; the folder of the gender is 111 (male) or 112 (female). The faces of one number share an
identity, as no one says whether the number is a person's or a photo's.
"""

import re

from threeages.data.importing.rows import SourceRows
from threeages.data.importing.sets.layout import Files, Layout, match_most

NAME = "afad"
GENDERS = {"111": "MALE", "112": "FEMALE"}
_PATH = re.compile(r"(?:.*/)?(?P<age>\d{1,3})/(?P<gender>11[12])/(?P<number>\d+)-\d+\.\w+")


def _finds(files: Files) -> bool:
    return match_most(_PATH, [files.relative(image) for image in files.images])


def _read(files: Files) -> SourceRows:
    found = SourceRows(NAME, files.folder, [])
    for image in files.images:
        match = _PATH.fullmatch(files.relative(image))
        if not match:
            found.excluded["no_age"] += 1
            continue
        found.rows.append({
            "path": match[0], "age": match["age"], "gender": GENDERS[match["gender"]], "source": NAME,
            "identity": f"{NAME}-{match['number']}",
        })  # fmt: skip
    return found


AFAD = Layout(_finds, _read)
