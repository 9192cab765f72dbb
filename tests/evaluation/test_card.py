from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threeages.data.manifest import Manifest, load_manifest
from threeages.errors import DataError
from threeages.evaluation.card import CardSet, with_image_columns, write_card
from threeages.evaluation.evaluate import evaluate_table
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.provenance import Provenance
from threeages.evaluation.slices import SLICE_METRICS
from threeages.evaluation.tables import format_with_interval
from threeages.evaluation.thresholds import measure_thresholds
from threeages.evaluation.trained_on import TRAINED_ON
from threeages.signature import Signature

SIGNATURE = Signature("tiny", 32, error_thresholds=((0.1, 0.875),), set_thresholds=((0.9, 0.25),))
Rows = dict[str, list[str]]  # the other cells of a row by its first


@pytest.fixture
def manifest(faces_csv: Path, tmp_path: Path) -> Manifest:
    """The synthetic faces, every second one reduced to 40 pixels and without colour."""
    manifest = load_manifest(faces_csv)
    for i, (name, file) in enumerate(zip(manifest.paths, manifest.files(), strict=True)):
        image = Image.open(file)
        (image.resize((40, 40)).convert("L") if i % 2 else image).save(tmp_path / name)
    return replace(manifest, root=tmp_path)


@pytest.fixture
def table(manifest: Manifest) -> PredictionTable:
    rng = np.random.default_rng(0)
    n = len(manifest)
    probs = 0.6 * rng.dirichlet((1, 1, 1), n) + 0.4 * np.eye(3)[manifest.labels]
    columns = manifest.columns | {"gender": ("FEMALE", "MALE") * (n // 2)}
    return PredictionTable(manifest.paths, manifest.labels, ("ok",) * n, probs, probs.max(axis=1), columns)


def _card(table: PredictionTable, root: Path | None, out: Path, *, is_default: bool = True) -> str:
    sets = [CardSet("Synthetic", table, root)]
    write_card(
        sets, SIGNATURE, out, name="test model", megabytes=1.25, has_years=False, is_default=is_default
    )
    return out.read_text(encoding="utf-8")


def _tables(text: str) -> list[Rows]:
    """Every Markdown table of a card."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    cells = [[[c.strip() for c in line.strip("|").split("|")] for line in block] for block in blocks]
    return [{row[0]: row[1:] for row in (block[0], *block[2:])} for block in cells]


def test_the_numbers_are_those_of_the_evaluation(
    table: PredictionTable, manifest: Manifest, tmp_path: Path
) -> None:
    summary, classes, *slices, risk, sets = _tables(_card(table, manifest.root, tmp_path / "card.md"))
    result = evaluate_table(with_image_columns(table, manifest.root))
    metrics = [format_with_interval(result, name) for name in (*SLICE_METRICS, "ece")]
    assert summary["Synthetic"] == ["120", "24", *metrics, ""]
    old = result.per_class["OLD"]
    assert classes["OLD"] == [*(f"{old[k]:.3f}" for k in ("precision", "recall", "f1")), f"{old['support']}"]
    by_column = {next(iter(rows)): rows for rows in slices}
    for title, column in (("By gender", "gender"), ("By shorter side in pixels", "image_size")):
        for value, found in result.slices[column].items():
            expected = [f"{found['n']:,}", *(f"{found[name]:.3f}" for name in SLICE_METRICS)]
            assert by_column[title][value] == expected
    covered = table.confidence >= 0.875
    wrong = (table.probs.argmax(axis=1) != table.labels)[covered].mean()
    assert risk["10%"] == ["0.875", f"{covered.mean():.3f}", f"{wrong:.3f}"]
    assert sets["90%"] == ["0.250"]


def test_product_version_and_terms_come_first_and_lines_are_short(
    table: PredictionTable, tmp_path: Path
) -> None:
    title, _, first, *lines = _card(table, None, tmp_path / "card.md").splitlines()
    assert title == f"# Model card: threeages {version('threeages')} test model"
    assert "may not be used commercially" in first
    assert max(len(line) for line in lines if not line.startswith("|")) <= 120
    own = _card(table, None, tmp_path / "own.md", is_default=False)
    assert "does not know what data" in own
    assert "UTKFace" not in own


def test_a_set_that_is_not_of_held_out_identities_is_refused(table: PredictionTable, tmp_path: Path) -> None:
    random = replace(table, provenance=Provenance("random"))
    with pytest.raises(DataError, match=r"random split.*figures on Synthetic"):
        _card(random, None, tmp_path / "card.md")
    trained = replace(table, columns=table.columns | {TRAINED_ON: ("no", *("image",) * (len(table) - 1))})
    with pytest.raises(DataError, match="119 of 120 scored rows"):
        _card(trained, None, tmp_path / "card.md")
    assert not (tmp_path / "card.md").exists()
    assert "Warning" not in _card(table, None, tmp_path / "card.md")


def test_the_shipped_card_names_the_version_and_the_terms() -> None:
    root = Path(__file__).parents[2] / "src" / "threeages"
    title, _, first, *_ = (root / "assets" / "default.md").read_text(encoding="utf-8").splitlines()
    assert title == f"# Model card: threeages {version('threeages')} default model"
    terms = (root / "evaluation" / "templates" / "terms_default.md").read_text(encoding="utf-8")
    assert first == terms.splitlines()[0]


def test_images_are_described(table: PredictionTable, manifest: Manifest) -> None:
    columns = with_image_columns(table, manifest.root).columns
    assert columns["color"][:2] == ("colour", "grey")
    assert columns["image_size"][1] == "32-63"
    assert columns["image_size"][0] != "32-63"
    assert set(with_image_columns(table, Path("/nowhere")).columns["color"]) == {""}


def test_sources_of_the_training_have_a_row_with_their_terms(table: PredictionTable, tmp_path: Path) -> None:
    known = replace(table, provenance=Provenance("identity", sources={"utkface": 1200, "mine": 3}))
    text = _card(known, None, tmp_path / "own.md", is_default=False)
    assert "do not allow any use" in " ".join(text.splitlines()[2:5])
    assert "utkface, mine" in " ".join(text.splitlines()[2:5])
    terms = _tables(text)[0]
    assert terms["`utkface`"][0] == "1,200"
    assert terms["`utkface`"][-1] == "research-only"
    assert terms["`mine`"][-1] == "unknown"
    free = replace(table, provenance=Provenance("identity", sources={"fairface": 5}))
    text = _card(free, None, tmp_path / "free.md", is_default=False)
    assert "allow any use" in text.splitlines()[2]
    assert "do not" not in text.splitlines()[2]
    default = _card(known, None, tmp_path / "default.md")
    assert "may not be used commercially" in default.splitlines()[2]
    assert "`utkface`" in default


def test_sources_never_met_come_worst_first_with_the_thresholds_of_the_others(
    table: PredictionTable, tmp_path: Path
) -> None:
    n = len(table)
    names = tuple(("good", "bad", "other")[i % 3] for i in range(n))
    bad = np.asarray(names) == "bad"
    labels = np.where(bad, (table.labels + (np.arange(n) % 5 == 0)) % 3, table.labels)
    unseen = replace(table, labels=labels, columns=table.columns | {"held_out": names})
    out = tmp_path / "card.md"
    options = {"name": "test model", "megabytes": 1.25, "has_years": False}
    write_card([CardSet("Synthetic", table)], SIGNATURE, out, unseen=unseen, **options)
    text = out.read_text(encoding="utf-8").split("## Sources never met")[1].split("\n## ")[0]
    summary, risks, sets = _tables(text)
    assert list(summary)[1] == "bad"
    assert set(summary) == {"Source never met", "good", "bad", "other"}
    report = measure_thresholds(unseen, by="held_out")
    assert risks["`--max-error`"] == [f"{e.target_error:.0%}" for e in report.errors]
    coverage, risk = report.errors[0].parts["bad"]
    assert risks["bad"][0] == f"{coverage:.3f}; {risk:.3f}"
    assert sets["bad"][0].startswith(f"{report.sets[0].parts['bad'][0]:.3f}; ")
    assert list(risks)[-1] == list(sets)[-1] == "mean"
