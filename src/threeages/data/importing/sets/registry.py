"""The published layouts by name, and which of them the files of a folder have."""

from collections.abc import Mapping
from types import MappingProxyType

from threeages.data.importing.sets.afad import AFAD
from threeages.data.importing.sets.agedb import AGEDB
from threeages.data.importing.sets.appa_real import APPA_REAL
from threeages.data.importing.sets.fairface import FAIRFACE
from threeages.data.importing.sets.imdb_clean import IMDB_CLEAN
from threeages.data.importing.sets.lagenda import LAGENDA
from threeages.data.importing.sets.layout import Files, Layout
from threeages.data.importing.sets.portraits import PORTRAITS
from threeages.errors import ConfigError, DataError

SETS: Mapping[str, Layout] = MappingProxyType({
    "portraits": PORTRAITS,
    "fairface": FAIRFACE,
    "lagenda": LAGENDA,
    "appa-real": APPA_REAL,
    "imdb-clean": IMDB_CLEAN,
    "agedb": AGEDB,
    "afad": AFAD,
})  # fmt: skip


def find_layout(files: Files, given: str | None = None) -> Layout | None:
    """The layout given by name, else the one that the files have; None where they have none.

    Raises ConfigError for a name that is none, DataError where the files have several.
    """
    if given is not None:
        if given not in SETS:
            raise ConfigError(f"The layout was '{given}'.", hint=f"Allowed: {', '.join(SETS)}.")
        return SETS[given]
    found = [name for name, layout in SETS.items() if layout.finds(files)]
    if len(found) > 1:
        raise DataError(
            f"{files.folder} has the layouts of {' and '.join(found)}.",
            hint=f"Name one, such as --layout {found[0]}, or give the folder of one set alone.",
        )
    return SETS[found[0]] if found else None
