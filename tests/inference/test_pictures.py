import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from threeages.demo import find_portraits
from threeages.errors import DataError
from threeages.faces.images import load_image
from threeages.inference.annotate import COLORS
from threeages.inference.pictures import (
    AnnotatedCopies,
    SortedCopies,
    find_folder,
    open_pictures,
    write_pictures,
)
from threeages.inference.records import Record

SIZE = (900, 600)
BOX = (100, 200, 500, 550)


def face(path: Path, group: str = "YOUNG", box: tuple[int, int, int, int] = BOX) -> Record:
    return Record(str(path), "ok", box, group, confidence=0.9, age=20.0)


def rejected(path: Path, status: str = "blurred") -> Record:
    return Record(str(path), status, BOX, message=f"It is {status}.")


def photo(path: Path, orientation: int = 1, **settings: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = orientation, "A camera"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.LensModel] = "A lens"
    ramp = np.linspace(60, 200, SIZE[0]).astype(np.uint8)[None, :, None].repeat(SIZE[1], 0).repeat(3, 2)
    Image.fromarray(ramp).save(path, exif=exif, **settings)  # type: ignore[arg-type]
    return path


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def read_format(path: Path) -> str | None:
    with Image.open(path) as image:
        return image.format


def excluded(folder: Path) -> list[dict[str, str]]:
    with (folder / "excluded.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_a_copy_keeps_exif_orientation_and_size(tmp_path: Path, name: str, orientation: int) -> None:
    original = photo(tmp_path / name, orientation)
    before = original.read_bytes()
    AnnotatedCopies(tmp_path / "out").add(original, [face(original)])
    assert original.read_bytes() == before
    with Image.open(original) as old, Image.open(tmp_path / "out" / name) as new:
        assert (new.size, new.format) == (old.size, old.format)  # of a TIFF, Pillow gives the upright size
        for tag in (ExifTags.Base.Orientation, ExifTags.Base.Make):
            assert new.getexif()[tag] == old.getexif()[tag]
        if old.format in {"JPEG", "WEBP"}:
            assert new.info["exif"] == old.info["exif"]
        upright = np.asarray(ImageOps.exif_transpose(new.convert("RGB"))).astype(int)
        plain = np.asarray(ImageOps.exif_transpose(old.convert("RGB"))).astype(int)
    color = np.asarray(COLORS["YOUNG"])
    x1, _, x2, y2 = BOX
    assert np.abs(upright[y2, x1 + 8 : x2 - 8] - color).max() < 60  # the lower edge of the box, upright
    away = np.abs(upright[:, x2 + 40 :] - plain[:, x2 + 40 :])
    assert np.median(away) < 3


def test_the_color_profile_is_kept_where_it_fits(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    color = photo(tmp_path / "color.jpg", icc_profile=profile)
    Image.new("CMYK", SIZE, "red").save(tmp_path / "print.jpg", icc_profile=profile)
    writer = AnnotatedCopies(tmp_path / "out")
    for path in (color, tmp_path / "print.jpg"):
        writer.add(path, [face(path)])
    with Image.open(tmp_path / "out" / "color.jpg") as one, Image.open(tmp_path / "out" / "print.jpg") as two:
        assert one.info["icc_profile"] == profile
        assert (two.mode, "icc_profile" in two.info) == ("RGB", False)


def test_other_formats_become_png(tmp_path: Path) -> None:
    Image.new("RGB", SIZE, "red").save(tmp_path / "a.gif")
    Image.new("RGB", SIZE, "red").save(tmp_path / "b.ppm")
    photo(tmp_path / "c.jpg").rename(tmp_path / "c.png")  # a JPEG by another name
    writer = AnnotatedCopies(tmp_path / "out")
    for name in ("a.gif", "b.ppm", "c.png"):
        writer.add(tmp_path / name, [face(tmp_path / name)])
    found = {p.name: read_format(p) for p in (tmp_path / "out").iterdir()}
    assert found == {"a.gif.png": "PNG", "b.ppm.png": "PNG", "c.png.jpg": "JPEG"}


def test_two_photos_of_one_name_survive_and_nothing_is_overwritten(tmp_path: Path) -> None:
    one, two = photo(tmp_path / "a" / "x.jpg"), photo(tmp_path / "b" / "x.jpg")
    before = digests(tmp_path)
    for writer in [
        *open_pictures(tmp_path / "out", tmp_path / "out", link=False),
        *open_pictures(tmp_path / "a", None, link=False),
    ]:
        for path in (one, two):
            writer.add(path, [face(path)])
        writer.close()
    assert sorted(p.name for p in (tmp_path / "out").glob("*.jpg")) == ["x-2.jpg", "x.jpg"]
    assert sorted(p.name for p in (tmp_path / "out" / "YOUNG").iterdir()) == ["x-2.jpg", "x.jpg"]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["x-2.jpg", "x-3.jpg", "x.jpg"]
    assert digests(tmp_path / "b").items() <= before.items()
    assert one.read_bytes() == two.read_bytes()


def test_sorting_fails_closed(tmp_path: Path) -> None:
    names = ("young", "same", "differ", "part", "blurred", "none", "child")
    paths = {name: photo(tmp_path / "in" / f"{name}.jpg") for name in names}
    bad = tmp_path / "in" / "bad.jpg"
    bad.write_bytes(b"no image")
    gone = tmp_path / "in" / "gone.jpg"
    records = [
        [face(paths["young"])],
        [face(paths["same"], "OLD"), face(paths["same"], "OLD")],
        [face(paths["differ"], "OLD"), face(paths["differ"], "YOUNG")],
        [face(paths["part"]), rejected(paths["part"])],
        [rejected(paths["blurred"]), rejected(paths["blurred"])],
        [Record(str(paths["none"]), "no_face", message="No face was found.")],
        [rejected(paths["child"], "looks_under_13")],
        [Record(str(bad), "not_an_image", message="The file is in no known image format.")],
        [Record(str(gone), "missing", message="There is no file.")],
    ]
    before = digests(tmp_path / "in")
    writer = SortedCopies(tmp_path / "out")
    flat = [record for group in records for record in group]
    assert list(write_pictures(flat, [writer])) == flat
    said = writer.close()
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.jpg")}
    assert found == {
        "YOUNG/young.jpg", "OLD/same.jpg", "several/differ.jpg", "several/part.jpg", "blurred/blurred.jpg",
        "no_face/none.jpg", "looks_under_13/child.jpg", "unreadable/bad.jpg",
    }  # fmt: skip
    rows = {Path(row["path"]).stem: row for row in excluded(tmp_path / "out")}
    assert set(rows) == {*names, "bad", "gone"} - {"young", "same"}
    assert rows["differ"]["reason"] == "2 faces with different answers: OLD, YOUNG"
    assert rows["part"]["reason"].endswith("YOUNG, blurred")
    assert (rows["bad"]["folder"], rows["bad"]["copy"]) == ("unreadable", "unreadable/bad.jpg")
    assert (rows["gone"]["folder"], rows["gone"]["copy"]) == ("unreadable", "")
    assert all(row["reason"] for row in rows.values())
    assert digests(tmp_path / "in") == before
    assert "YOUNG 1" in said
    assert "unreadable 2" in said


def test_links_lead_to_the_originals(tmp_path: Path) -> None:
    path = photo(tmp_path / "in" / "x.jpg")
    writer = SortedCopies(tmp_path / "out", link=True)
    writer.add(path, [face(path)])
    writer.add(path, [face(path)])
    writer.close()
    for name in ("x.jpg", "x-2.jpg"):
        copy = tmp_path / "out" / "YOUNG" / name
        assert copy.is_symlink()
        assert copy.resolve() == path.resolve()


def test_a_path_that_a_spreadsheet_takes_for_a_formula_is_escaped(tmp_path: Path) -> None:
    writer = SortedCopies(tmp_path)
    writer.add(Path("=1+1.jpg"), [Record("=1+1.jpg", "missing", message="There is no file.")])
    writer.close()
    assert excluded(tmp_path)[0]["path"] == "'=1+1.jpg"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    path = photo(tmp_path / "x.jpg")
    with pytest.raises(DataError, match="Cannot write"):
        SortedCopies(tmp_path / "file")
    with pytest.raises(DataError, match="Cannot write"):
        AnnotatedCopies(tmp_path / "file").add(path, [face(path)])


def test_the_record_of_all_images_together_is_no_picture(tmp_path: Path) -> None:
    path = photo(tmp_path / "x.jpg")
    records = [face(path), Record("together", "ok", age_group="YOUNG")]
    writer = SortedCopies(tmp_path / "out")
    assert list(write_pictures(records, [writer])) == records
    writer.close()
    assert [p.name for p in (tmp_path / "out").rglob("*.jpg")] == ["x.jpg"]
    assert excluded(tmp_path / "out") == []


def test_without_writers_records_are_not_held_back() -> None:
    records = iter([face(Path("a")), face(Path("b"))])
    next(write_pictures(records, []))
    assert len(list(records)) == 1


def test_an_unreadable_image_has_no_annotated_copy(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    writer = AnnotatedCopies(tmp_path / "out")
    writer.add(tmp_path / "bad.jpg", [Record("bad.jpg", "not_an_image")])
    assert "1 images could not be read" in writer.close()
    assert not (tmp_path / "out").exists()


def test_an_answer_of_all_faces_is_the_folder() -> None:
    assert find_folder([face(Path("x"), "MIDDLE")] * 2) == ("MIDDLE", "")


@pytest.mark.slow
def test_boxes_lie_on_the_face_in_full_resolution(tmp_path: Path) -> None:
    from threeages.inference.predictor import load_predictor

    large = tmp_path / "large.jpg"
    with Image.open(find_portraits()[0]) as image:
        image.convert("RGB").resize((image.width * 5, image.height * 5)).save(large)
    records = list(load_predictor().predict([large]))
    AnnotatedCopies(tmp_path / "out").add(large, records)
    before, after = load_image(large).astype(int), load_image(tmp_path / "out" / "large.jpg").astype(int)
    assert after.shape == before.shape
    ys, xs = np.nonzero((np.abs(after - before) > 90).any(axis=2))
    box = records[0].box
    assert box
    assert abs(int(np.quantile(xs, 0.01)) - box[0]) < 0.03 * before.shape[1]
    assert abs(int(ys.max()) - box[3]) < 0.03 * before.shape[0]
