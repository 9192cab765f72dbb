from collections.abc import Callable
from pathlib import Path

from threeages.data.importing.sources import ImportResult


def test_age_and_gender_are_folders(
    write_set: Callable[..., Path], load: Callable[..., ImportResult]
) -> None:
    images = [
        "AFAD-Full/18/111/1001-0.jpg",
        "AFAD-Full/18/112/1001-1.jpg",
        "AFAD-Full/40/112/1002-0.jpg",
        "AFAD-Full/51/111/1003-0.jpg",
        "AFAD-Full/x/111/1004-0.jpg",
    ]
    result = load(write_set(images))
    columns = result.manifest.columns
    assert result.kind == "afad"
    assert dict(zip(result.manifest.paths, result.manifest.labels.tolist(), strict=True)) == dict(
        zip(images, (0, 0, 1, 2), strict=False)
    )
    genders = dict(zip(result.manifest.paths, columns["gender"], strict=True))
    assert [genders[name] for name in images[:4]] == ["MALE", "FEMALE", "FEMALE", "MALE"]
    identities = dict(zip(result.manifest.paths, columns["identity"], strict=True))
    assert identities[images[0]] == identities[images[1]] != identities[images[2]]
    assert result.excluded == {"no_age": 1}
