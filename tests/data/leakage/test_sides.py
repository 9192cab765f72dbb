from pathlib import Path

import numpy as np
import pytest

from threeages.data.leakage.sides import (
    Sides,
    choose_columns,
    choose_split,
    count_shared,
    create_sides,
    name_identities,
    read_sides,
)
from threeages.data.manifest import Manifest
from threeages.errors import ConfigError, DataError


def create_manifest(**columns: str) -> Manifest:
    """A row for every letter or word of the columns, which are separated by spaces; '-' is empty."""
    cells = {k: tuple("" if c == "-" else c for c in v.split()) for k, v in columns.items()}
    n = len(next(iter(cells.values())))
    return Manifest(Path(), tuple(f"{i}.jpg" for i in range(n)), np.arange(n) % 3, cells)


def test_cells_of_a_column_are_read_in_common_spellings() -> None:
    manifest = create_manifest(part="Train TEST val - training eval other")
    sides = read_sides(manifest, "part")
    assert (sides.train.tolist(), sides.test.tolist()) == ([0, 4], [1, 5])
    assert sides.name == "column part"


def test_validation_rows_are_the_test_rows_where_there_are_no_others() -> None:
    assert read_sides(create_manifest(part="train valid dev"), "part").test.tolist() == [1, 2]


def test_a_value_names_the_test_rows_and_all_other_cells_train() -> None:
    sides = read_sides(create_manifest(fold="0 1 - 2 1"), "fold", "1")
    assert (sides.train.tolist(), sides.test.tolist()) == ([0, 3], [1, 4])


@pytest.mark.parametrize(("cells", "test", "side"), [("a b", None, "train"), ("train a", None, "test"),
                                                     ("0 1", "7", "test")])  # fmt: skip
def test_a_column_without_a_side_says_which_values_it_has(cells: str, test: str | None, side: str) -> None:
    with pytest.raises(DataError, match=f"names no {side} rows; its values are: .* 1") as caught:
        read_sides(create_manifest(part=cells), "part", test)
    assert "--test" in caught.value.hint


def test_the_split_is_the_one_given_else_the_column_split_else_random() -> None:
    assert choose_split({"Split": ()}, None) == "Split"
    assert choose_split({"fold": ()}, None) == "random"
    assert choose_split({"Split": ()}, "identity") == "identity"
    assert choose_split({"Fold": ()}, "fold") == "Fold"
    with pytest.raises(ConfigError, match="'part'") as caught:
        choose_split({"fold": ()}, "part")
    assert "random, identity or a column: fold" in caught.value.hint


def test_columns_of_like_images_are_found_by_name_or_given() -> None:
    assert choose_columns({"Film": (), "age": (), "clip": ()}, None) == ("Film", "clip")
    assert choose_columns({"Film": (), "age": ()}, ["age"]) == ("age",)
    with pytest.raises(ConfigError, match="'set'"):
        choose_columns({"Film": ()}, ["set"])


def test_sides_are_made_without_a_column() -> None:
    manifest = create_manifest(identity=" ".join(f"p{i // 3}" for i in range(60)))
    digests = np.arange(60, dtype=np.int64)[:, None].view(np.uint8)
    random, apart = (create_sides(manifest, digests, mode) for mode in ("random", "identity"))
    assert (len(random.train), len(random.test)) == (48, 12)
    assert count_shared(manifest, "identity", random).share > 0.5
    assert count_shared(manifest, "identity", apart).rows == 0
    assert "seed 42" in random.name
    assert "fold 0 of 5" in apart.name


def test_values_on_both_sides_are_counted_and_empty_cells_are_none() -> None:
    manifest = create_manifest(identity="a b - a c - a")
    found = count_shared(manifest, "identity", Sides("", np.arange(3), np.arange(3, 7)))
    assert (found.values, found.known, found.rows, found.n) == (1, 2, 2, 4)
    assert found.share == 0.5


def test_a_row_without_an_identity_is_one_of_its_own() -> None:
    named = name_identities(create_manifest(identity="a - a -"))
    assert named is not None
    assert len(set(named.columns["identity"])) == 3


@pytest.mark.parametrize("columns", [{"age": "1 2"}, {"identity": "- -"}, {"identity": "x:1 x:2"}])
def test_identities_of_one_image_each_are_no_names(columns: dict[str, str]) -> None:
    assert name_identities(create_manifest(**columns)) is None
