import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threeages.data.correcting import CORRECTED_FROM, CORRECTIONS, apply_corrections, count_corrections
from threeages.data.corrections import Decision, add_decision, decide
from threeages.data.importing.sources import import_source
from threeages.data.manifest import Manifest, load_manifest
from threeages.errors import DataError
from threeages.files.checksums import digest_file
from threeages.labels import AGE_GROUPS

NAMES = ("a.png", "sub/b.png", "sub/c.png", "d.png")


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "sub").mkdir()
    for i, name in enumerate(NAMES):
        Image.new("RGB", (40, 40), (60 * i, 20, 20)).save(tmp_path / name)
    return Manifest(tmp_path, NAMES, np.asarray([0, 1, 2, -1]), {"age": ("20", "40", "70", "")})


def _correct(
    manifest: Manifest, row: int, new: str, reviewer: str = "ann", path: str | None = None
) -> Decision:
    label = int(manifest.labels[row])
    return decide(
        path or manifest.paths[row], manifest.files()[row], AGE_GROUPS[max(label, 0)], new, reviewer
    )


def _file(folder: Path, *decisions: Decision) -> Path:
    for decision in decisions:
        add_decision(folder / "c.csv", decision)
    return folder / "c.csv"


def test_a_correction_changes_the_label_and_leaves_the_former_one(manifest: Manifest, tmp_path: Path) -> None:
    csv = _file(
        tmp_path, _correct(manifest, 0, "OLD"), _correct(manifest, 1, "MIDDLE"), _correct(manifest, 2, "")
    )
    found = apply_corrections(manifest, csv)
    assert found.manifest.labels.tolist() == [2, 1, 2, -1]
    assert found.manifest.columns[CORRECTED_FROM] == ("YOUNG", "", "", "")
    assert found.manifest.columns[CORRECTIONS] == (digest_file(csv)[:12], "", "", "")
    assert found.counts == {"accepted": 1, "corrected": 1, "skipped": 1}
    assert manifest.labels.tolist() == [0, 1, 2, -1]


def test_an_age_that_contradicts_the_new_label_is_left_out(manifest: Manifest, tmp_path: Path) -> None:
    found = apply_corrections(manifest, _file(tmp_path, _correct(manifest, 0, "OLD")))
    assert found.manifest.columns["age"] == ("", "40", "70", "")
    assert found.emptied == 1
    assert any("age" in note for note in found.notes())


def test_where_nothing_changes_no_column_is_added(manifest: Manifest, tmp_path: Path) -> None:
    found = apply_corrections(manifest, _file(tmp_path, _correct(manifest, 0, "YOUNG")))
    assert found.manifest.columns == manifest.columns


def test_reviewers_who_disagree_change_nothing_until_they_agree(manifest: Manifest, tmp_path: Path) -> None:
    csv = _file(tmp_path, _correct(manifest, 0, "OLD"), _correct(manifest, 0, "YOUNG", "bo"))
    found = apply_corrections(manifest, csv)
    assert found.manifest.labels[0] == 0
    assert found.counts == {"reviewers disagree": 1}
    assert any("reviewers disagree 1" in note for note in found.notes())
    found = apply_corrections(manifest, _file(tmp_path, _correct(manifest, 0, "OLD", "bo")))
    assert found.counts == {"corrected": 1}


def test_another_picture_of_that_name_keeps_its_label(
    manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    csv = _file(tmp_path, _correct(manifest, 0, "OLD"))
    Image.new("RGB", (40, 40), "white").save(tmp_path / "a.png")
    with caplog.at_level(logging.WARNING, "threeages"):
        found = apply_corrections(manifest, csv)
    assert found.manifest.labels[0] == 0
    assert found.counts == {"another image": 1}
    assert "changes no label" in caplog.text


def test_a_label_that_was_changed_since_stays(manifest: Manifest, tmp_path: Path) -> None:
    csv = _file(tmp_path, _correct(manifest, 0, "OLD"))
    since = replace(manifest, labels=np.asarray([1, 1, 2, -1]))
    found = apply_corrections(since, csv)
    assert found.manifest.labels[0] == 1
    assert found.counts == {"another label": 1}


def test_applied_twice_it_changes_nothing_more(manifest: Manifest, tmp_path: Path) -> None:
    csv = _file(tmp_path, _correct(manifest, 0, "OLD"))
    once = apply_corrections(manifest, csv).manifest
    twice = apply_corrections(once, csv)
    assert twice.counts == {"corrected before": 1}
    assert list(twice.notes())[1] == "labels of that file left as they are: corrected before 1"
    assert twice.manifest.columns == once.columns


def test_a_label_that_is_put_back_counts_as_no_correction(manifest: Manifest, tmp_path: Path) -> None:
    once = apply_corrections(manifest, _file(tmp_path, _correct(manifest, 0, "OLD"))).manifest
    back = apply_corrections(once, _file(tmp_path, _correct(once, 0, "YOUNG")))
    assert back.manifest.labels[0] == 0
    assert count_corrections(back.manifest.columns) == {}


def test_an_image_is_found_below_another_root(manifest: Manifest, tmp_path: Path) -> None:
    below = Manifest(tmp_path / "sub", ("b.png", "c.png"), manifest.labels[1:3])
    found = apply_corrections(below, _file(tmp_path, _correct(manifest, 1, "OLD")))
    assert found.manifest.labels.tolist() == [2, 2]
    above = Manifest(tmp_path.parent, tuple(f"{tmp_path.name}/{n}" for n in NAMES), manifest.labels)
    found = apply_corrections(above, _file(tmp_path, _correct(below, 1, "YOUNG", path="c.png")))
    assert found.manifest.labels.tolist() == [0, 2, 0, -1]


def test_a_name_of_two_images_corrects_neither(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes((tmp_path / "sub/b.png").read_bytes())
    both = Manifest(
        tmp_path.parent, (f"{tmp_path.name}/b.png", f"{tmp_path.name}/sub/b.png"), np.asarray([1, 1])
    )
    found = apply_corrections(both, _file(tmp_path, _correct(manifest, 1, "OLD", path="b.png")))
    assert found.counts == {"several images of that name": 1}
    assert found.manifest.labels.tolist() == [1, 1]


def test_corrections_of_another_set_are_refused(manifest: Manifest, tmp_path: Path) -> None:
    csv = _file(tmp_path, _correct(manifest, 0, "OLD", path="other.png"))
    with pytest.raises(DataError, match="None of 1 image"):
        apply_corrections(manifest, csv)


def test_import_applies_them_and_the_sidecar_says_so(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("path,label\na.png,YOUNG\nsub/b.png,MIDDLE\n")
    csv = _file(tmp_path, _correct(manifest, 0, "OLD"))
    result = import_source(str(tmp_path / "set.csv"), out=tmp_path / "faces.csv", corrections=csv)
    assert any("1 label corrected by c.csv" in note for note in result.notes)
    read = load_manifest(tmp_path / "faces.csv")
    assert read.labels.tolist() == [2, 1]
    assert count_corrections(read.columns) == {digest_file(csv)[:12]: 1}
    sidecar = json.loads((tmp_path / "faces.json").read_text())
    assert sidecar["corrections"] == {"file": "c.csv", "sha256": digest_file(csv), "corrected": 1}


def test_corrected_rows_are_counted_among_those_asked_for() -> None:
    columns = {CORRECTED_FROM: ("YOUNG", "", "OLD", "OLD"), CORRECTIONS: ("aa", "", "aa", "bb")}
    assert count_corrections(columns) == {"aa": 2, "bb": 1}
    assert count_corrections(columns, [1, 2]) == {"aa": 1}
    assert count_corrections({}) == {}
