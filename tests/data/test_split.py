from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from threeages.data.cache import open_cache
from threeages.data.duplicates import NEAR, NearDuplicates
from threeages.data.importing.sources import import_source
from threeages.data.leakage.copies import find_copies
from threeages.data.leakage.sides import Sides
from threeages.data.manifest import Manifest, load_manifest
from threeages.data.split import Split, create_split
from threeages.errors import ConfigError, DataError, ThreeAgesError


def _number(n: int) -> NDArray[np.uint8]:
    """Digests of `n` different images."""
    return np.arange(2 * n, dtype=np.uint64).view(np.uint8).reshape(n, 16).copy()


def _manifest(n_identities: int, per_identity: int = 6) -> Manifest:
    rows = range(n_identities * per_identity)
    identities = tuple(f"i{row // per_identity}" for row in rows)
    labels = np.asarray([row // per_identity % 3 for row in rows])
    return Manifest(Path(), tuple(f"{row}.jpg" for row in rows), labels, {"identity": identities})


def _near(*pairs: tuple[int, int], likeness: float = 1.0) -> NearDuplicates:
    return NearDuplicates(np.asarray(pairs), np.full(len(pairs), likeness, dtype=np.float32))


def _sides(manifest: Manifest, split: Split) -> list[set[str]]:
    identities = manifest.identities()
    assert identities is not None
    return [set(identities[rows].tolist()) for rows in (split.train, split.validation, split.test)]


def test_an_identity_is_on_one_side(faces_csv: Path) -> None:
    manifest = load_manifest(faces_csv)
    digests = open_cache(manifest, 32, folder=faces_csv.parent / "cache").digests
    tested = []
    for fold in range(5):
        split = create_split(manifest, digests, "identity", fold=fold)
        sides = _sides(manifest, split)
        assert sum(map(len, sides)) == len(set().union(*sides)) == 24
        assert split.leaked_duplicates == 0
        tested.append(split.test)
    assert sorted(np.concatenate(tested)) == list(range(len(manifest)))


def test_identities_that_share_an_image_are_one() -> None:
    manifest = _manifest(20)
    digests = _number(len(manifest))
    digests[6] = digests[0]  # identities 0 and 1
    for fold in range(5):
        split = create_split(manifest, digests, "identity", fold=fold)
        assert all(("i0" in side) == ("i1" in side) for side in _sides(manifest, split))


def test_identities_that_near_duplicates_link_are_on_one_side_and_all_others_stay() -> None:
    manifest = _manifest(20)
    digests, near = _number(len(manifest)), _near((6, 0), (100, 2))  # identities 0, 1 and 16
    for fold in range(5):
        before, split = (create_split(manifest, digests, fold=fold, near=pairs) for pairs in (None, near))
        sides = _sides(manifest, split)
        assert sum(len(side & {"i0", "i1", "i16"}) for side in sides) in {0, 3}
        assert all(len(side & {"i0", "i1", "i16"}) in {0, 3} for side in sides)
        assert split.leaked_near_duplicates == 0
        moved = sides[2] ^ _sides(manifest, before)[2]
        assert moved <= {"i0", "i1", "i16"}
    folds = [create_split(manifest, digests, fold=fold, near=near).test for fold in range(5)]
    assert sorted(np.concatenate(folds)) == list(range(len(manifest)))
    before = [create_split(manifest, digests, fold=fold).test for fold in range(5)]
    assert any(a.tolist() != b.tolist() for a, b in zip(before, folds, strict=True))


def test_no_split_by_identity_parts_what_the_audit_counts_as_a_copy() -> None:
    manifest, digests = _manifest(20), _number(120)
    plain = create_split(manifest, digests)
    (a, b), (x, y) = plain.train[:2].tolist(), plain.test[:2].tolist()
    digests[y] = digests[x]
    for pairs in ([(a, x)], [(a, x), (x, 119)], [(a, b), (b, x)]):
        near = _near(*(tuple(sorted(pair)) for pair in pairs), likeness=NEAR)
        for fold in range(5):
            split = create_split(manifest, digests, fold=fold, near=near)
            assert find_copies(digests, near, Sides("", split.train, split.test)) == []
            assert (split.leaked_duplicates, split.leaked_near_duplicates) == (0, 0)
    assert find_copies(digests, near, Sides("", plain.train, plain.test)) != []


def test_a_random_split_and_the_audit_count_the_same_copies() -> None:
    manifest, digests = _manifest(20), _number(120)
    near = _near(*zip(range(0, 100, 5), range(4, 120, 5), strict=False), likeness=NEAR)
    digests[60:70] = digests[:10]
    split = create_split(manifest, digests, "random", near=near)
    found = find_copies(digests, near, Sides("", split.train, split.test))
    kinds = [copy.kind for copy in found]
    assert (kinds.count("exact"), kinds.count("near")) == (
        split.leaked_duplicates, split.leaked_near_duplicates)  # fmt: skip
    assert min(kinds.count("exact"), kinds.count("near")) > 0


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_links_between_few_identities_leave_no_side_empty() -> None:
    manifest = _manifest(6)
    near = _near((0, 6), (12, 18))
    for fold in range(3):
        split = create_split(manifest, _number(36), fold=fold, folds=3, near=near)
        assert all(len(rows) for rows in (split.train, split.validation, split.test))
        assert all(len(side & pair) in {0, 2} for side in _sides(manifest, split)
                   for pair in ({"i0", "i1"}, {"i2", "i3"}))  # fmt: skip
    with pytest.raises(DataError, match="at most 4"):
        create_split(manifest, _number(36), folds=5, near=near)


def test_leaked_near_duplicates_are_counted_beside_exact_ones() -> None:
    manifest, digests = _manifest(20), _number(120)
    plain = create_split(manifest, digests, "random")
    (a, b, c), (x, y, z) = plain.train[:3], plain.test[:3]
    digests[y] = digests[b]  # an exact duplicate leaks
    digests[z] = digests[x]  # as near to a training image as its duplicate
    near = _near((x, a), (b, a), (c, plain.train[3]))
    split = create_split(manifest, digests, "random", near=near)
    assert (split.leaked_duplicates, split.leaked_near_duplicates) == (1, 2)


def test_random_counts_leaked_duplicates_and_validates_on_test() -> None:
    manifest = _manifest(20)
    same = np.zeros((len(manifest), 16), dtype=np.uint8)
    split = create_split(manifest, same, "random")
    assert split.leaked_duplicates == len(split.test) == 24
    assert (split.validation == split.test).all()
    assert create_split(manifest, _number(len(manifest)), "random").leaked_duplicates == 0


def _with_sources(*sources: str) -> Manifest:
    """Four identities of six rows each source."""
    manifest = _manifest(4 * len(sources))
    names = tuple(name for name in sources for _ in range(24))
    return replace(manifest, columns={**manifest.columns, "source": names})


def test_a_source_held_out_is_tested_whole_and_the_rest_is_parted_by_identity() -> None:
    manifest = _with_sources("a", "b", "c")
    split = create_split(manifest, _number(72), "source", held_out=("b",))
    assert split.test.tolist() == list(range(24, 48))
    assert sorted([*split.train, *split.validation]) == [*range(24), *range(48, 72)]
    assert len(split.validation)
    train, validation, test = _sides(manifest, split)
    assert not train & validation
    assert not test & (train | validation)
    both = create_split(manifest, _number(72), "source", held_out=("a", "c"))
    assert sorted(both.test) == [*range(24), *range(48, 72)]


def test_a_split_by_source_may_train_on_some_of_the_others() -> None:
    manifest = _with_sources("a", "b", "c")
    split = create_split(manifest, _number(72), "source", held_out=("b",), train_sources=("b", "c"))
    assert split.test.tolist() == list(range(24, 48))
    assert sorted([*split.train, *split.validation]) == list(range(48, 72))


def test_copies_and_identities_of_a_source_held_out_do_not_train() -> None:
    manifest = _with_sources("a", "b", "c")
    identities = list(manifest.columns["identity"])
    met, copied = identities[0], identities[12]
    identities[30] = met  # an identity of source a in the source held out
    manifest = replace(manifest, columns={**manifest.columns, "identity": tuple(identities)})
    split = create_split(manifest, _number(72), "source", held_out=("b",), near=_near((14, 40)))
    used = {identities[row] for row in [*split.train, *split.validation]}
    assert met not in used
    assert copied not in used
    assert len(split.test) == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "source"}, "0 sources held out"),
        ({"mode": "identity", "held_out": ("a",)}, "no other split takes any"),
        ({"mode": "identity", "train_sources": ("a",)}, "Only a split by source"),
        ({"mode": "source", "held_out": ("a",), "train_sources": ("z",)}, "no source 'z'"),
        ({"mode": "source", "held_out": ("z",)}, "no source 'z'.*\n.*a, b"),
        ({"mode": "source", "held_out": ("a", "b")}, "leaves 0 identities"),
    ],
)
def test_sources_that_cannot_be_held_out_are_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ThreeAgesError, match=message):
        create_split(_with_sources("a", "b"), _number(48), **options)


def test_none_trains_on_every_row() -> None:
    manifest = _manifest(4)
    split = create_split(manifest, _number(len(manifest)), "none")
    assert split.train.tolist() == list(range(len(manifest)))
    assert len(split.validation) == len(split.test) == split.leaked_duplicates == 0


@pytest.mark.parametrize(("identities", "folds"), [(3, 3), (4, 2), (8, 3), (12, 3), (12, 5)])
@pytest.mark.filterwarnings("ignore:The least populated class")
def test_few_identities_fill_all_three_sides(identities: int, folds: int) -> None:
    manifest = _manifest(identities)
    for fold in range(folds):
        split = create_split(manifest, _number(len(manifest)), "identity", fold=fold, folds=folds)
        sides = _sides(manifest, split)
        assert all(sides)
        assert sum(map(len, sides)) == identities


def test_too_few_identities_name_the_number_that_works() -> None:
    manifest = _manifest(4)
    with pytest.raises(DataError, match=r"at most 4.\n  Add images of more identities. Or give --folds 4"):
        create_split(manifest, _number(len(manifest)), "identity", folds=5)
    create_split(manifest, _number(len(manifest)), "identity", folds=4)
    with pytest.raises(DataError, match="more identities"):
        create_split(_manifest(1), _number(6), "identity")
    with pytest.raises(DataError, match="leaves 1 identity in"):
        create_split(_manifest(2), _number(12), "identity", folds=2)


@pytest.mark.parametrize("settings", [{"mode": "people"}, {"fold": 5}, {"fold": -1}, {"folds": 1}])
def test_settings_outside_the_allowed_are_refused(settings: dict[str, Any]) -> None:
    manifest = _manifest(20)
    with pytest.raises(ConfigError, match="The split was"):
        create_split(manifest, _number(len(manifest)), **{"mode": "identity"} | settings)


def test_without_identities_it_says_what_to_do() -> None:
    manifest = _manifest(20)
    nameless = Manifest(manifest.root, manifest.paths, manifest.labels)
    with pytest.raises(DataError, match=r"one in 0 of 120 rows.\n.*--identities FILE.*random"):
        create_split(nameless, _number(len(manifest)), "identity")


@pytest.mark.realdata
@pytest.mark.slow
def test_random_is_the_reference_studys(data_root: Path, tmp_path: Path) -> None:
    manifest = import_source(str(data_root / "faces-age-detection"), out=tmp_path / "faces.csv").manifest
    digests = np.random.default_rng(0).integers(0, 256, (len(manifest), 16), dtype=np.uint8)
    split = create_split(manifest, digests, "random")
    assert len(split.test) == 3982
    assert round(float((manifest.labels[split.test] == 1).mean()), 4) == 0.5477
