import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from threeages.data.synthetic import draw_face
from threeages.errors import DataError
from threeages.inference.explain import LEAST_FACES, Explanation, MapMean, MeanMap, explain_images
from threeages.inference.explanation import FaceMap
from threeages.inference.explanations import read_maps, read_stopped, write_maps, write_means, write_picture
from threeages.inference.heatmap import GAP, TILE, draw_heatmap, draw_tile, stack_tiles
from threeages.inference.occlusion import CELLS, map_occlusion
from threeages.inference.prepare import FacePreparer
from threeages.labels import AGE_GROUPS
from threeages.signature import Signature


def predict(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probability of OLD by how dark the middle of the crop is."""
    middle = pixels[:, 8:24, 8:24].mean(axis=(1, 2, 3)) / 255
    return np.stack([middle / 4, middle / 4, 1 - middle / 2], axis=1).astype(np.float32)


@pytest.fixture
def preparer() -> FacePreparer:
    return FacePreparer(Signature("cnn", 32), None)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.png" for name in ("one", "two")]
    for i, path in enumerate(paths):
        Image.fromarray(draw_face(30 + 30 * i, i, np.random.default_rng(i))).save(path)
    return [*paths, tmp_path / "none.png"]


def test_every_face_is_explained_and_a_bad_image_costs_none(
    photos: list[Path], preparer: FacePreparer
) -> None:
    found = list(explain_images(photos, preparer, partial(map_occlusion, predict), predict=predict))
    assert [one.status for one in found] == ["ok", "ok", "missing"]
    for one in found[:2]:
        assert one.crop is not None
        assert one.found is not None
        assert one.found.values.shape == (CELLS, CELLS)
        assert one.age_group == "OLD"
        assert one.faithfulness is not None
    assert found[2].message
    assert found[2].age_group is None
    json.dumps([one.to_dict() for one in found], allow_nan=False)
    assert "deletion" in found[0].to_dict()


def test_faithfulness_is_measured_where_it_is_asked_for(photos: list[Path], preparer: FacePreparer) -> None:
    found = next(explain_images(photos, preparer, partial(map_occlusion, predict)))
    assert found.faithfulness is None
    assert "deletion" not in found.to_dict()


def test_pictures_are_written_and_nothing_is_overwritten(
    photos: list[Path], preparer: FacePreparer, tmp_path: Path
) -> None:
    out = tmp_path / "maps"
    for _ in range(2):
        found = list(explain_images(photos, preparer, partial(map_occlusion, predict)))
        assert [write_picture([one], out) for one in found] == [True, True, False]
    names = ["one-map-2.png", "one-map.png", "two-map-2.png", "two-map.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    with Image.open(out / "one-map.png") as image:
        assert image.width > 2 * TILE


def test_maps_are_read_as_they_were_written(
    tmp_path: Path, preparer: FacePreparer, photos: list[Path]
) -> None:
    found = list(explain_images(photos[:1], preparer, partial(map_occlusion, predict)))
    path = write_maps(found, {"method": "occlusion"}, tmp_path / "out")
    assert json.loads(path.read_text())["method"] == "occlusion"
    assert found[0].found is not None
    np.testing.assert_allclose(read_maps(path)[0]["map"], found[0].found.values, atol=1e-6)


def test_a_folder_that_is_a_file_is_named(tmp_path: Path, preparer: FacePreparer, photos: list[Path]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file"):
        write_picture(
            list(explain_images(photos[:1], preparer, partial(map_occlusion, predict))), tmp_path / "file"
        )


def test_what_was_stopped_is_read_and_nothing_else(
    tmp_path: Path, preparer: FacePreparer, photos: list[Path]
) -> None:
    about = {"model": "a", "curves": True}
    assert read_stopped(tmp_path, about) == []
    found = list(explain_images(photos, preparer, partial(map_occlusion, predict), predict=predict))
    path = write_maps(found, about, tmp_path, complete=False)
    kept = read_stopped(tmp_path, about)
    assert kept is not None
    assert [one.to_dict() for one in kept] == [one.to_dict() for one in found]
    assert read_stopped(tmp_path, about | {"curves": False}) is None
    path.write_text(path.read_text()[:-40])
    assert read_stopped(tmp_path, about) is None
    write_maps(found, about, tmp_path)
    assert read_stopped(tmp_path, about) == []


def _explained(group: int, values: NDArray[np.float64], color: int) -> Explanation:
    crop = np.full((16, 16, 3), color, dtype=np.uint8)
    return Explanation("a.jpg", box=(0, 0, 1, 1), crop=crop, found=FaceMap(group, 0.9, values))


def _means(**counts: int) -> dict[str, MeanMap]:
    """The means of so many faces of each age group, whose crops have a colour for each group."""
    means = MapMean()
    for name, count in counts.items():
        group = AGE_GROUPS.index(name)
        for _ in range(count):
            means.add(_explained(group, np.ones((2, 2)), 50 * (1 + group)))
    return means.means()


def test_means_weigh_every_face_the_same(tmp_path: Path) -> None:
    means = MapMean()
    left, right = np.zeros((2, 2)), np.zeros((2, 2))
    left[:, 0], right[:, 1] = 0.5, 0.001  # a sure answer hardly falls
    for one in (_explained(0, left, 100), _explained(2, right, 200), Explanation("b.jpg", "no_face")):
        for _ in range(LEAST_FACES):
            means.add(one)
    found = means.means()
    assert list(found) == ["all", "YOUNG", "OLD"]
    assert found["all"].faces == 2 * LEAST_FACES
    np.testing.assert_allclose(found["all"].values, 0.25)
    colors = [mean.crop[0, 0, 0] for mean in found.values() if mean.crop is not None]
    assert colors == [150, 100, 200]
    assert write_means(found, tmp_path).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ({"OLD": 1}, set()),
        ({"OLD": LEAST_FACES - 1}, set()),
        ({"OLD": LEAST_FACES}, {"all", "OLD"}),
        ({"YOUNG": 6, "OLD": 6}, {"all"}),
        ({"YOUNG": 20, "OLD": 1}, {"all"}),  # that one face is what tells 'all' from YOUNG
        ({"YOUNG": 20, "MIDDLE": 30, "OLD": 3}, {"all", "MIDDLE"}),
        ({"YOUNG": 20, "MIDDLE": 6, "OLD": 6}, {"YOUNG", "all"}),
        ({"YOUNG": 20, "MIDDLE": 12, "OLD": 10}, {"YOUNG", "MIDDLE", "OLD", "all"}),
    ],
)
def test_a_mean_of_few_faces_shows_none(counts: dict[str, int], shown: set[str], tmp_path: Path) -> None:
    found = _means(**counts)
    assert {name for name, mean in found.items() if mean.crop is not None} == shown
    with Image.open(write_means(found, tmp_path)) as image:
        first = np.asarray(image)[GAP : GAP + TILE, GAP : GAP + TILE]
    assert (first == 255).all() == ("all" not in shown)


def test_the_highest_part_glows_and_a_flat_map_does_not() -> None:
    pixels = np.full((40, 40, 3), 128, dtype=np.uint8)
    values = np.zeros((4, 4))
    values[0, 0] = 0.2
    drawn = draw_heatmap(pixels, values).astype(int)
    assert np.ptp(drawn[2, 2]) > 50
    assert np.ptp(drawn[35, 35]) == 0
    np.testing.assert_array_equal(draw_heatmap(pixels, np.zeros((4, 4))), pixels)


def test_a_long_name_stays_inside_its_tile() -> None:
    crop = np.full((16, 16, 3), 255, dtype=np.uint8)
    tile = draw_tile(crop, np.zeros((2, 2)), [200 * "ä", 100 * "name "])
    assert (tile[:, -4:] == 255).all()
    assert (tile[TILE + 12 :] < 128).any()
    assert stack_tiles([tile] * 3).shape == (2 * tile.shape[0], 2 * tile.shape[1], 3)
    assert stack_tiles([tile]).shape == tile.shape
