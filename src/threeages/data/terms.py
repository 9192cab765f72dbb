"""The sources of faces that are known, and what their terms allow as far as anyone stated them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from threeages.data.columns import SOURCE
from threeages.data.manifest import Manifest
from threeages.data.split import Rows
from threeages.errors import ConfigError, DataError

Use = Literal["permissive", "research-only", "unknown"]
NOT_STATED = "terms not known to this program"


@dataclass(frozen=True)
class SourceTerms:
    """What a source is and the terms stated for it.

    `use` sums them up: `permissive` where they allow any use, `research-only` where they forbid commercial
    use, `unknown` where nothing is stated. It is no legal advice: who trains has to read the terms.
    """

    name: str
    title: str
    terms: str
    use: Use


_KNOWN = (
    SourceTerms(
        "faces",
        "film faces: frames of Indian films (IMFDB), labelled by impression",
        "research use",
        "research-only",
    ),
    SourceTerms("utkface", "UTKFace: faces from the web", "non-commercial research", "research-only"),
    SourceTerms(
        "appa-real", "APPA-REAL: faces from the web (ChaLearn)", "ChaLearn research set", "research-only"
    ),
    SourceTerms("all-age-faces", "All-Age-Faces: East Asian faces", "research only", "research-only"),
    SourceTerms("lfw", "Labeled Faces in the Wild: news photos", "research only", "research-only"),
    SourceTerms(
        "us-congress",
        "portraits of members of the US Congress",
        "public domain as works of the US government; not confirmed photo by photo",
        "permissive",
    ),
    SourceTerms(
        "uk-parliament",
        "official portraits of the UK Parliament",
        "understood to be CC BY 3.0; not confirmed photo by photo",
        "unknown",
    ),
    SourceTerms("fr-parliament", "portraits of the French parliament", "not stated", "unknown"),
    SourceTerms("fairface", "FairFace: faces from Flickr (YFCC-100M)", "CC BY 4.0", "permissive"),
    SourceTerms("lagenda", "LAGENDA: photos of Open Images", "CC BY 2.0", "permissive"),
    SourceTerms("agedb", "AgeDB: photos of well-known people", "non-commercial research", "research-only"),
    SourceTerms(
        "imdb-clean",
        "IMDB-clean: photos of actors (IMDB-WIKI)",
        "annotations under MIT; the photos for academic research only",
        "research-only",
    ),
    SourceTerms("afad", "AFAD: Asian faces from a social network", "academic research only", "research-only"),
)  # fmt: skip
SHIPPED = (
    "faces",
    "utkface",
    "all-age-faces",
    "lfw",
    "appa-real",
    "us-congress",
    "uk-parliament",
    "fr-parliament",
)  # that the shipped models were trained on
SOURCES: Mapping[str, SourceTerms] = MappingProxyType({source.name: source for source in _KNOWN})


def find_terms(source: str) -> SourceTerms:
    """The terms of a source by its name in the column `source`; of use `unknown` where it is not known."""
    return SOURCES.get(source) or SourceTerms(source, "", NOT_STATED, "unknown")


def list_sources(manifest: Manifest, default: str = "") -> tuple[str, ...]:
    """The source of every row; `default` where the manifest says none."""
    cells = manifest.columns.get(SOURCE, ("",) * len(manifest))
    return tuple(cell or default for cell in cells)


def count_sources(manifest: Manifest, rows: Rows | None = None) -> dict[str, int]:
    """Number of rows by source, the largest first, without the rows of which none is known."""
    chosen = manifest if rows is None else manifest.select(rows)
    counts = Counter(list_sources(chosen))
    del counts[""]
    return dict(counts.most_common())


def select_permissive(
    manifest: Manifest, default: str = "", allowed: Iterable[str] = ()
) -> tuple[Manifest, dict[str, int]]:
    """The rows whose source's terms allow any use, and the number of the others by source.

    `allowed` names further sources whose terms the user knows, `default` is the source of rows that name
    none. Raises ConfigError where the manifest has no source of an allowed name, DataError, which lists the
    sources with their terms, where no row is left.
    """
    sources, allowed = list_sources(manifest, default), set(allowed)
    if absent := sorted(allowed - set(sources)):
        raise ConfigError(
            f"No row is of the source {', '.join(absent)}.",
            hint=f"--allow-source takes one of: {', '.join(sorted(set(sources)))}.",
        )
    kept = [i for i, name in enumerate(sources) if name in allowed or find_terms(name).use == "permissive"]
    if not kept:
        listed = "\n".join(f"  {name}: {_describe(name)}" for name in sorted(set(sources)))
        raise DataError(
            f"No row is of a source whose terms allow any use:\n{listed}",
            hint="Add such a source, or state with --allow-source NAME that you know its terms.",
        )
    dropped = Counter(sources) - Counter(sources[i] for i in kept)
    return manifest.select(np.asarray(kept, dtype=np.int64)), dict(dropped.most_common())


def _describe(name: str) -> str:
    found = find_terms(name)
    return f"{found.use} ({found.terms})"
