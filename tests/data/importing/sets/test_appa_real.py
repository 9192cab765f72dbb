from collections.abc import Callable
from pathlib import Path

from threeages.data.importing.sources import ImportResult

HEADER = "file_name,num_ratings,apparent_age_avg,apparent_age_std,real_age\n"
TRAIN = HEADER + "000000.jpg,36,5.05,1.26,4\n000001.jpg,39,19.7,4.6,18\n000002.jpg,30,33.0,4.6,29\n"
VALID = HEADER + "004113.jpg,36,50.5,1.26,55\n004114.jpg,36,50.5,1.26\n004115.jpg,36,50.5,1.26,55\n"


def test_the_face_is_taken_and_the_real_age_is_the_age(
    write_set: Callable[..., Path], load: Callable[..., ImportResult]
) -> None:
    images = [f"train/00000{i}.jpg" for i in range(3)] + [f"train/00000{i}.jpg_face.jpg" for i in range(2)]
    images += ["valid/004113.jpg", "valid/004113.jpg_face.jpg", "valid/004114.jpg"]
    single = "file_name,age,worker_age,worker_age,worker_gender\n000000.jpg,5,20,20,male\n"
    tables = {"gt_avg_train.csv": TRAIN, "gt_avg_valid.csv": VALID, "gt_train.csv": single}
    folder = write_set(images, tables)
    result = load(folder)
    assert result.kind == "appa-real"
    assert result.manifest.paths == (
        "train/000001.jpg_face.jpg",
        "train/000002.jpg",
        "valid/004113.jpg_face.jpg",
    )
    assert result.manifest.labels.tolist() == [0, 0, 2]
    assert result.manifest.columns["age"] == ("18", "29", "55")
    assert result.manifest.columns["apparent_age"] == ("19.7", "33.0", "50.5")
    assert result.manifest.columns["published_split"] == ("train", "train", "valid")
    assert result.excluded == {"under_13": 1, "no_age": 1, "missing": 1}
    assert "identity" not in result.manifest.columns
