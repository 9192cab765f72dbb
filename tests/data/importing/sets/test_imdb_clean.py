from collections.abc import Callable
from pathlib import Path

from threeages.data.importing.sources import ImportResult

HEADER = "filename,age,gender,x_min,y_min,x_max,y_max,head_roll,head_yaw,head_pitch\n"
ONE, TWO, OTHER = (
    "00/nm0000001_rm1_1955-1-6_2003.jpg",
    "01/nm0000001_rm2_1955-1-6_1983.jpg",
    "00/nm77_rm3.jpg",
)
TAIL = "0.1,0.2,0.3"
TRAIN = (
    HEADER
    + f"{ONE},48,M,20,20,70,70,{TAIL}\n"
    + f"{TWO},28,M,20,20,70,70,{TAIL}\n"
    + f"{OTHER},x,F,20,20,70,70,{TAIL}\n"
    + f"{OTHER},30,F,70,20,20,70,{TAIL}\n"
    + f"09/nm5_rm4.jpg,30,F,20,20,70,70,{TAIL}\n"
)
WriteSet = Callable[..., Path]
Load = Callable[..., ImportResult]


def test_the_cropped_photos_are_read_with_identities_that_are_no_names(
    write_set: WriteSet, load: Load
) -> None:
    images = [f"data/imdb-clean-1024/{name}" for name in (ONE, TWO, OTHER)]
    images += [f"data/imdb/{ONE}"]
    valid = HEADER + f"{OTHER},60,F,20,20,70,70,{TAIL}\n"
    far = HEADER + f"{ONE},48,M,1,1,2,2,{TAIL}\n"
    tables = {"imdb_train_new_1024": TRAIN, "imdb_valid_new_1024": valid, "imdb_train_new": far}
    folder = write_set(images, {f"csvs/{name}.csv": text for name, text in tables.items()}, size=96)
    result = load(folder)
    manifest, columns = result.manifest, result.manifest.columns
    assert result.kind == "imdb-clean"
    assert manifest.labels.tolist() == [1, 0, 2]
    assert all(path.startswith("data/imdb-clean-1024/") for path in manifest.paths)
    first, second, other = columns["identity"]
    assert first == second != other
    assert first.startswith("imdb-clean-")
    assert "nm0000001" not in first
    assert columns["published_split"] == ("train", "train", "valid")
    assert result.excluded == {"no_age": 1, "no_face_box": 1, "missing": 1}


def test_the_whole_photos_are_read_where_nobody_cropped_them(write_set: WriteSet, load: Load) -> None:
    table = HEADER + f"{ONE},48,M,20,20,70,70,{TAIL}\n"
    folder = write_set([f"data/imdb/{ONE}"], {"csvs/imdb_test_new.csv": table}, size=96)
    assert load(folder).manifest.paths == (f"data/imdb/{ONE.removesuffix('.jpg')}-0.jpg",)
