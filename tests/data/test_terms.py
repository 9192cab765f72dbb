from pathlib import Path

import numpy as np
import pytest

from threeages.data.importing.sets.registry import SETS
from threeages.data.manifest import Manifest
from threeages.data.terms import SOURCES, count_sources, find_terms, select_permissive
from threeages.errors import ConfigError, DataError


def _manifest(*sources: str) -> Manifest:
    paths = tuple(f"{i}.png" for i in range(len(sources)))
    return Manifest(Path(), paths, np.zeros(len(sources), dtype=np.int64), {"source": sources})


MIXED = _manifest("fairface", "utkface", "mine", "", "fairface", "fr-parliament")


def test_every_set_that_can_be_imported_has_terms() -> None:
    known = SETS.keys() - {"portraits"}  # which holds several sources
    assert known <= SOURCES.keys()
    assert {
        "faces",
        "utkface",
        "lfw",
        "us-congress",
        "uk-parliament",
        "fr-parliament",
        "all-age-faces",
    } < set(SOURCES)
    assert all(source.title and source.terms for source in SOURCES.values())


def test_what_nobody_stated_counts_as_unknown() -> None:
    assert find_terms("mine").use == "unknown"
    assert find_terms("fr-parliament").use == "unknown"
    assert find_terms("utkface").use == "research-only"


def test_only_sources_whose_terms_allow_any_use_are_kept() -> None:
    kept, dropped = select_permissive(MIXED, "faces")
    assert kept.paths == ("0.png", "4.png")
    assert dropped == {"utkface": 1, "mine": 1, "faces": 1, "fr-parliament": 1}


def test_a_user_can_state_that_terms_are_known() -> None:
    kept, dropped = select_permissive(MIXED, "own", ["mine", "own"])
    assert kept.paths == ("0.png", "2.png", "3.png", "4.png")
    assert dropped == {"utkface": 1, "fr-parliament": 1}
    with pytest.raises(ConfigError, match="of the source minne"):
        select_permissive(MIXED, "own", ["minne"])


def test_none_left_lists_the_sources_with_their_terms() -> None:
    with pytest.raises(DataError, match=r"afad: research-only .*\n.*mine: unknown .*not known") as caught:
        select_permissive(_manifest("afad", "mine"))
    assert "--allow-source" in caught.value.hint


def test_rows_are_counted_by_source() -> None:
    assert count_sources(MIXED) == {"fairface": 2, "utkface": 1, "mine": 1, "fr-parliament": 1}
    assert count_sources(MIXED, np.array([1, 3])) == {"utkface": 1}
    assert count_sources(Manifest(Path(), ("a",), np.zeros(1, dtype=np.int64))) == {}
