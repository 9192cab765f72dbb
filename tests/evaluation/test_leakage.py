import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threeages.data.duplicates import NearDuplicates
from threeages.data.leakage.sides import Sides, create_sides
from threeages.data.manifest import Manifest
from threeages.evaluation import gap
from threeages.evaluation.gap import BASELINE, FACES, Pictures
from threeages.evaluation.leakage import NO_ESTIMATE, NO_NAMES, LeakageReport, audit_leakage
from threeages.evaluation.leakage_text import (
    CSV,
    JSON,
    describe_excess,
    describe_leakage,
    judge_leakage,
    list_answers,
    list_header,
    write_leakage,
)

IDENTITIES, EACH = 30, 6
N = IDENTITIES * EACH
WHO = np.arange(N) // EACH
NONE = NearDuplicates(np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.float32))


def create_manifest(*, named: bool = True, **columns: tuple[str, ...]) -> Manifest:
    """Every identity has one label, so that knowing it is knowing the answer."""
    if named:
        columns |= {"identity": tuple(f"p{who}" for who in WHO)}
    return Manifest(Path(), tuple(f"{i}.jpg" for i in range(N)), WHO * 7 % 3, columns)


def create_pictures(*, faces: bool = False, digests: np.ndarray | None = None) -> Pictures:
    """Images of one identity are alike, and so are its faces."""
    rng = np.random.default_rng(0)
    looks = rng.integers(60, 200, (IDENTITIES, 32, 32, 3))[WHO]
    thumbnails = (looks + rng.integers(-20, 20, looks.shape)).astype(np.uint8)
    ids = np.arange(N) if digests is None else digests
    vectors = rng.normal(size=(IDENTITIES, 16))[WHO] + rng.normal(0, 0.1, (N, 16))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Pictures(thumbnails, ids.astype(np.int64)[:, None].view(np.uint8), NONE, unit if faces else None)


def audit(manifest: Manifest, pictures: Pictures, mode: str = "random", **settings: object) -> LeakageReport:
    sides = create_sides(manifest, pictures.digests, mode)  # type: ignore[arg-type]
    return audit_leakage(manifest, sides, pictures, resamples=200, **settings)  # type: ignore[arg-type]


def test_a_random_split_gives_away_what_identities_tell() -> None:
    report = audit(create_manifest(), create_pictures())
    answers = {answer.name: answer for answer in report.answers}
    assert list(answers)[:2] == [BASELINE, "majority per identity"]
    for name in ("majority per identity", "nearest 16x16 pixels"):
        found = answers[name]
        assert found.accuracy == 1.0
        assert found.leaks
        assert found.apart is not None
        assert found.apart < 0.7
        assert found.gap == pytest.approx(found.accuracy - found.apart)
        assert found.gap_interval is not None
        assert found.gap_interval[0] <= found.gap <= found.gap_interval[1]
    assert not answers[BASELINE].leaks
    assert report.compared == "identity"
    assert set(report.find_excess(0.05)) == {"identity", "gap"}
    assert judge_leakage(report).startswith("This split leaks")


def test_an_identity_disjoint_split_gives_away_nothing() -> None:
    report = audit(create_manifest(), create_pictures(), "identity")
    assert not any(answer.leaks for answer in report.answers)
    assert report.find_excess(0.0) == {}
    assert judge_leakage(report) == (
        "No leakage was found, which says little. Too few to tell: 36 images of 6 identities are in the test "
        "rows, and 10 identities or more are needed."
    )
    assert not any(line.startswith("Gap") for line in describe_leakage(report))
    assert describe_excess(report, 0.0) == ""


def test_columns_of_like_images_answer_too() -> None:
    film = tuple(f"f{i // 3}" for i in range(N))
    names = [a.name for a in audit(create_manifest(film=film), create_pictures(), within=["film"]).answers]
    assert names[1:3] == ["majority per identity", "majority per identity and film"]
    nameless = audit(create_manifest(named=False, film=film), create_pictures(), within=["film"])
    assert nameless.answers[1].name == "majority per film"
    assert [shared.column for shared in nameless.shared] == ["film"]


def test_without_names_faces_warn_and_fail_nothing() -> None:
    report = audit(create_manifest(named=False), create_pictures(faces=True))
    assert report.estimate is not None
    assert report.estimate.share > 0.9
    assert report.estimate.here is None
    assert report.compared == "estimate"
    assert list_header(report)[2] == "estimated identities apart"
    assert NO_NAMES in report.notes
    nearest = {answer.name: answer for answer in report.answers}[FACES]
    assert nearest.accuracy == 1.0
    assert nearest.apart is not None
    assert nearest.apart < 0.7
    assert report.answers[0].apart is None
    assert report.find_excess(0.01) == {}
    assert judge_leakage(report).startswith("This split may leak")
    assert any("names nobody and can err. On the film faces: purity" in t for t in describe_leakage(report))


def test_the_estimate_is_measured_on_named_identities() -> None:
    estimate = audit(create_manifest(), create_pictures(faces=True)).estimate
    assert estimate is not None
    assert estimate.here is not None
    assert estimate.here.purity == 1.0
    assert estimate.here.recall > 0.9


def test_without_names_and_faces_the_report_says_what_it_cannot_know() -> None:
    report = audit(create_manifest(named=False), create_pictures())
    assert report.compared == ""
    assert all(answer.gap is None for answer in report.answers)
    assert judge_leakage(report).endswith("more may be there.")
    assert list_header(report) == ["answer that never looks at age", "accuracy"]
    assert {len(cells) for cells in list_answers(report)} == {2}


def test_images_repeated_before_the_split_are_found() -> None:
    manifest, ids = create_manifest(), np.arange(N)
    old = np.flatnonzero(manifest.labels == 2)
    ids[old[len(old) // 2 :]] = ids[old[: len(old) - len(old) // 2]]
    report = audit(manifest, create_pictures(digests=ids))
    assert report.oversampled == ("OLD",)
    assert report.repeats["OLD"].share == 0.5
    assert any("Images of OLD were repeated before the split: 50.0%" in t for t in describe_leakage(report))
    assert "copies" in describe_excess(report, 0.05)
    sides = Sides("", np.setdiff1d(np.arange(N), old), old)  # repeated, but on one side alone
    apart = audit_leakage(manifest, sides, create_pictures(digests=ids), resamples=20)
    assert apart.oversampled == ()


def test_too_few_identities_to_compare_with_are_named_as_the_reason() -> None:
    manifest = create_manifest()
    few = replace(manifest.select(np.arange(EACH)), labels=np.arange(EACH) % 3)
    pictures = create_pictures()
    part = Pictures(pictures.thumbnails[:EACH], pictures.digests[:EACH], NONE)
    report = audit_leakage(few, Sides("", np.arange(4), np.arange(4, EACH)), part, resamples=20)
    assert report.compared == ""
    assert report.too_few == (
        "Too few to tell: 2 images of 1 identity are in the test rows, and 10 identities or more are needed."
    )
    assert report.too_few in describe_leakage(report)
    assert list_answers(report)[0][1].endswith("(too few to tell)")
    assert any("No identity-disjoint split can be made" in note for note in report.notes)
    assert report.shares == {"copies": 0.0, "identity": 1.0, "gap": 0.0}


def test_many_test_rows_are_sampled_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gap, "MAX_TEST", 20)
    report = audit(create_manifest(), create_pictures())
    assert report.n_test == 36
    assert "The answers are measured on 20 of 36 test rows." in report.notes


def test_without_labels_copies_and_identities_are_counted_still() -> None:
    manifest = create_manifest()
    manifest.labels[:] = -1
    report = audit(manifest, create_pictures())
    assert report.answers == ()
    assert report.shares["identity"] > 0.9
    assert any("No label is known in the train rows" in note for note in report.notes)
    assert judge_leakage(report).startswith("This split leaks")


def test_the_files_hold_every_number_and_no_name(tmp_path: Path) -> None:
    ids = np.arange(N)
    ids[3] = ids[4] = ids[5]
    manifest = create_manifest()
    report = audit(manifest, create_pictures(digests=ids, faces=True))
    write_leakage(report, manifest, tmp_path)
    text = (tmp_path / JSON).read_text()
    held = json.loads(text)
    words = {
        "verdict": judge_leakage(report),
        "findings": held["findings"],
        "answers_header": list_header(report),
    }
    assert held == {**words, **report.to_dict()}
    assert held["findings"] == list(describe_leakage(report))
    assert (held["n_train"], held["n_test"]) == (144, 36)
    assert held["answers"][1]["leaks"] is True
    assert '"p3"' not in text
    lines = (tmp_path / CSV).read_text().splitlines()
    assert lines[0] == "kind,test,train"
    assert len(lines) == 1 + len(report.copies) == 1 + held["exact_copies"]


def test_an_estimate_that_is_never_right_here_is_silent() -> None:
    """The faces of the train rows are all alike another identity's."""
    pictures = create_pictures(faces=True)
    assert pictures.embeddings is not None
    names = tuple(f"p{i}" if i % 2 else f"q{i // 2}" for i in range(N))
    manifest = replace(create_manifest(), columns={"identity": (*names[:-2], "one", "one")})
    report = audit(manifest, pictures)
    assert report.estimate is None
    assert NO_ESTIMATE in report.notes
    assert "Estimate from faces" not in " ".join(describe_leakage(report))


def test_where_all_labels_are_alike_no_answer_is_measured() -> None:
    manifest = replace(create_manifest(), labels=np.full(N, 2))
    report = audit(manifest, create_pictures())
    assert report.answers == ()
    assert any(note.startswith("Every labelled row is OLD: ") for note in report.notes)
    assert report.shares["identity"] == 1.0
