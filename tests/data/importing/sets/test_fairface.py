from collections.abc import Callable
from pathlib import Path

import pytest

from threeages.data.importing.sources import ImportResult
from threeages.data.manifest import load_manifest
from threeages.labels import UNKNOWN

HEADER = "file,age,gender,race,service_test\n"
BRACKETS = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
TRAIN = HEADER + "".join(f"train/{i}.jpg,{age},Male,East Asian,True\n" for i, age in enumerate(BRACKETS, 1))
VAL = (
    HEADER + "val/1.jpg,20-29,Female,Black,False\nval/2.jpg,,Male,White,False\nval/9.jpg,20-29,Male,White,\n"
)
NAMES = [f"train/{i}.jpg" for i in range(1, 10)] + ["val/1.jpg", "val/2.jpg"]

Load = Callable[..., ImportResult]


def test_brackets_are_labels_in_one_group_and_else_a_range(
    write_set: Callable[..., Path], load: Load
) -> None:
    folder = write_set(NAMES, {"fairface_label_train.csv": TRAIN, "fairface_label_val.csv": VAL})
    result = load(folder)
    rows = {path: i for i, path in enumerate(result.manifest.paths)}
    columns = result.manifest.columns
    cells = {
        path: (int(result.manifest.labels[i]), columns["age_low"][i], columns["age_high"][i])
        for path, i in rows.items()
    }
    assert result.kind == "fairface"
    assert cells == {
        "train/3.jpg": (UNKNOWN, "10", "19"),
        "train/4.jpg": (0, "20", "29"),
        "train/5.jpg": (UNKNOWN, "30", "39"),
        "train/6.jpg": (1, "40", "49"),
        "train/7.jpg": (UNKNOWN, "50", "59"),
        "train/8.jpg": (2, "60", "69"),
        "train/9.jpg": (2, "70", ""),
        "val/1.jpg": (0, "20", "29"),
    }
    assert result.excluded == {"under_13": 2, "no_age": 1, "missing": 1}
    assert any("first val/9.jpg" in note and "--root" not in note for note in result.notes)
    at = rows["val/1.jpg"]
    assert (columns["gender"][at], columns["race"][at], columns["published_split"][at]) == (
        "FEMALE",
        "Black",
        "val",
    )
    assert set(columns["source"]) == {"fairface"}
    assert set(columns["age"]) == {""}  # a head for years is found by it
    assert len(load(folder, children=True).manifest) == len(rows) + 2
    assert not result.passed_over


def test_the_tighter_crop_is_taken_and_one_folder_never_stands_for_another(
    write_set: Callable[..., Path], load: Load
) -> None:
    names = [f"fairface-img-margin{margin}-trainval/train/4.jpg" for margin in ("125", "025")]
    folder = write_set(
        names,
        {"fairface_label_train.csv": f"{HEADER}train/4.jpg,20-29,Male,White,True\nval/4.jpg,40-49,,,\n"},
    )
    result = load(folder)
    assert result.manifest.paths == (names[1],)
    assert result.excluded == {"missing": 1}


def test_its_csv_alone_is_read_the_same(write_set: Callable[..., Path], load: Load, tmp_path: Path) -> None:
    folder = write_set(NAMES, {"fairface_label_train.csv": TRAIN})
    result = load(folder / "fairface_label_train.csv")
    assert (result.kind, len(result.manifest)) == ("fairface", 7)
    table = tmp_path / "elsewhere" / "fairface_label_train.csv"
    table.parent.mkdir()
    table.write_text(TRAIN)
    assert load(table, root=folder).manifest.files() == result.manifest.files()


@pytest.mark.parametrize("name", ["labels.csv", "fairface_label_val.csv"])
def test_a_damaged_row_is_counted_and_no_end(name: str, write_set: Callable[..., Path], load: Load) -> None:
    table = HEADER + "train/1.jpg\ntrain/2.jpg,about forty,Male,White,x\ntrain/3.jpg,20-29,?,White,x\n"
    result = load(write_set(NAMES, {name: table}))
    assert result.excluded == {"no_age": 2}
    assert result.manifest.columns["gender"] == ("",)


def test_the_manifest_is_read_back_with_its_ranges(
    write_set: Callable[..., Path], load: Load, tmp_path: Path
) -> None:
    result = load(write_set(NAMES, {"fairface_label_train.csv": TRAIN}))
    again = load_manifest(tmp_path / "out" / "m.csv", need_label=False)
    assert again.columns == result.manifest.columns
    assert again.labels.tolist() == result.manifest.labels.tolist()
