from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threeages.data.importing.sources import ImportResult, read_source
from threeages.errors import ConfigError, DataError

HEADER = "img_name,age,gender,face_x0,face_y0,face_x1,face_y1,person_x0,person_y0,person_x1,person_y1\n"
PERSON = "-1,-1,-1,-1"
TABLE = (
    HEADER
    + f"two.jpg,24,F,4,4,44,44,{PERSON}\n"
    + f"two.jpg,60,M,50,50,94,94,{PERSON}\n"
    + f"two.jpg,-1,-1,50,4,94,44,{PERSON}\n"  # a face without an age
    + "two.jpg,33,M,-1,-1,-1,-1,0,0,90,90\n"  # a person without a face
    + f"two.jpg,24,F,4,4,44,44,{PERSON}\n"  # once more
    + f"two.jpg,25,F,90,90,300,300,{PERSON}\n"  # 6 pixels of it are in the photo
    + f"broken.jpg,40,M,4,4,44,44,{PERSON}\n"
    + f"gone.jpg,40,M,4,4,44,44,{PERSON}\n"
    + f"two.jpg,7,M,4,50,44,94,{PERSON}\n"
)  # fmt: skip
Load = Callable[..., ImportResult]
WriteSet = Callable[..., Path]


@pytest.fixture
def folder(write_set: WriteSet) -> Path:
    found = write_set(["lagenda_benchmark_images/two.jpg"], {"lagenda_annotation.csv": TABLE}, size=96)
    (found / "lagenda_benchmark_images" / "broken.jpg").write_bytes(b"no image")
    return found


def test_every_face_becomes_an_image_of_its_own(folder: Path, load: Load, tmp_path: Path) -> None:
    result = load(folder)
    assert result.kind == "lagenda"
    assert result.manifest.root == (tmp_path / "out" / "m-crops").resolve()
    names = tuple(f"lagenda_benchmark_images/two-{i}.jpg" for i in range(2))
    assert result.manifest.paths == names
    assert result.manifest.labels.tolist() == [0, 2]
    assert result.manifest.columns["gender"] == ("FEMALE", "MALE")
    assert set(result.manifest.columns["source"]) == {"lagenda"}
    assert not any("box" in name for name in result.manifest.columns)
    assert result.excluded == {
        **{"no_age": 1, "no_face_box": 1, "duplicate_row": 1, "missing": 1, "under_13": 1},
        **{"bad_box": 1, "unreadable": 1},
    }
    whole = np.asarray(Image.open(folder / "lagenda_benchmark_images" / "two.jpg")).astype(int)
    face = np.asarray(Image.open(result.manifest.files()[0])).astype(int)
    assert face.shape == (48, 48, 3)  # 40 pixels and a tenth of that on each side
    assert abs(face - whole[:48, :48]).mean() < 3


def test_the_folder_of_the_faces_can_be_named(folder: Path, load: Load, tmp_path: Path) -> None:
    result = load(folder, crops=tmp_path / "mine", children=True)
    assert result.manifest.root == (tmp_path / "mine").resolve()
    assert len(result.manifest) == 3
    assert all(file.is_file() for file in result.manifest.files())


def test_without_a_place_for_the_faces_the_command_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match="threeages data import"):
        read_source(str(folder))


def test_annotations_of_the_same_form_need_the_layout(write_set: WriteSet, load: Load) -> None:
    table = HEADER + f"a.jpg,24,F,4,4,44,44,{PERSON}\n"
    folder = write_set(["images/a.jpg"], {"annotations.csv": table}, size=96)
    plain = load(folder)
    assert (plain.kind, plain.manifest.paths) == ("csv", ("images/a.jpg",))
    assert load(folder, layout="lagenda").manifest.labels.tolist() == [0]
    with pytest.raises(ConfigError, match="Allowed: portraits, fairface"):
        load(folder, layout="lagend")


def test_two_sets_in_one_folder_are_told_apart_by_the_layout(folder: Path, load: Load) -> None:
    table = "file,age,gender,race,service_test\ntwo.jpg,20-29,Male,White,True\n"
    (folder / "fairface_label_val.csv").write_text(table)
    with pytest.raises(DataError, match="fairface and lagenda"):
        load(folder)
    assert load(folder, layout="fairface").kind == "fairface"
