from collections.abc import Callable
from pathlib import Path

from threeages.data.importing.sources import ImportResult

WriteSet = Callable[..., Path]
Load = Callable[..., ImportResult]


def test_an_identity_is_no_name(write_set: WriteSet, load: Load) -> None:
    images = [
        "0_AnnExample_35_f.jpg",
        "1_AnnExample_70_f.jpg",
        "12_BenSample_9_m.jpg",
        "13_O_Example_25_m.jpg",
    ]
    result = load(write_set([*images, "notes.png"]))
    columns = result.manifest.columns
    assert result.kind == "agedb"
    cells = zip(result.manifest.labels.tolist(), columns["gender"], columns["identity"], strict=True)
    rows = dict(zip(result.manifest.paths, cells, strict=True))
    ann, older, other = (rows[name] for name in (images[0], images[1], images[3]))
    assert [row[:2] for row in (ann, older, other)] == [(1, "FEMALE"), (2, "FEMALE"), (0, "MALE")]
    assert ann[2] == older[2] != other[2]
    text = " ".join(cell for name in columns for cell in columns[name])
    assert "Example" not in text
    assert result.excluded == {"under_13": 1, "no_age": 1}


def test_one_folder_a_person_gives_the_same_identities(write_set: WriteSet, load: Load) -> None:
    result = load(write_set(["id_0_Ann/0_AnnExample_35_f.jpg", "id_1_Ben/1_BenSample_40_m.jpg"]))
    assert result.kind == "agedb"
    assert len(set(result.manifest.columns["identity"])) == 2


def test_a_few_such_names_make_no_set(write_set: WriteSet, load: Load) -> None:
    names = [f"{age}_0_1_2017010914240807{age % 10}.jpg.chip.jpg" for age in (20, 31, 55)]
    result = load(write_set([*names, "0_AnnExample_35_f.jpg"]))
    assert result.kind == "utkface"
