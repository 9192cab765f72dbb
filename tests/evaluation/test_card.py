from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from threeages.cli.main import app
from threeages.data.manifest import Manifest, load_manifest
from threeages.errors import DataError
from threeages.evaluation.card import CardSet, with_image_columns, write_card
from threeages.evaluation.predictions import PredictionTable, save_predictions
from threeages.signature import Signature


@pytest.fixture
def manifest(faces_csv: Path, tmp_path: Path) -> Manifest:
    """The drawn faces, every second one shrunk to 40 pixels and without colour."""
    manifest = load_manifest(faces_csv)
    for i, (name, file) in enumerate(zip(manifest.paths, manifest.files(), strict=True)):
        image = Image.open(file)
        image = image.resize((40, 40)).convert("L") if i % 2 else image
        image.save(tmp_path / name)
    return replace(manifest, root=tmp_path)


@pytest.fixture
def table(manifest: Manifest) -> PredictionTable:
    rng = np.random.default_rng(0)
    n = len(manifest)
    probs = 0.6 * rng.dirichlet((1, 1, 1), n) + 0.4 * np.eye(3)[manifest.labels]
    columns = manifest.columns | {"gender": ("FEMALE", "MALE") * (n // 2)}
    return PredictionTable(manifest.paths, manifest.labels, ("ok",) * n, probs, probs.max(axis=1), columns)


def test_card_holds_the_measured_figures_and_the_limits(
    table: PredictionTable, manifest: Manifest, tmp_path: Path
) -> None:
    signature = Signature("tiny", 32, error_thresholds=((0.1, 0.875),))
    out = tmp_path / "card.md"
    write_card([CardSet("Drawn", table, manifest.root)], signature, out, megabytes=1.25, has_years=False)
    text = out.read_text()
    accuracy = (table.probs.argmax(axis=1) == table.labels).mean()
    assert f"| Drawn | {len(table)} | 24 | {accuracy:.3f} (" in text
    for heading in ("Intended use", "Not for", "Data and its terms", "What was measured", "Not tested"):
        assert f"## {heading}\n" in text
    sure = table.confidence >= 0.875
    wrong = (table.probs.argmax(axis=1) != table.labels)[sure].mean()
    bound = f"| 10% | 0.875 | {sure.mean():.3f} | {wrong:.3f} |"
    for cell in ("| OLD |", "| FEMALE | 60 |", "By shorter side in pixels", bound, "1.2 MB"):
        assert cell in text
    assert "$" not in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120


def test_images_are_described(table: PredictionTable, manifest: Manifest) -> None:
    columns = with_image_columns(table, manifest.root).columns
    assert columns["color"][:2] == ("colour", "grey")
    assert columns["image_size"][1] == "32-63"
    assert columns["image_size"][0] != "32-63"
    assert set(with_image_columns(table, Path("/nowhere")).columns["color"]) == {""}


def test_command(table: PredictionTable, manifest: Manifest, tmp_path: Path) -> None:
    save_predictions(table, tmp_path / "predictions.csv")
    out = tmp_path / "card.md"
    given = ["card", "--set", f"Drawn={tmp_path / 'predictions.csv'}", "--root", f"Drawn={manifest.root}"]
    result = CliRunner().invoke(app, [*given, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "By shorter side in pixels" in out.read_text()
    refused = CliRunner().invoke(app, ["card", "--set", "Drawn", "--out", str(out)])
    assert isinstance(refused.exception, DataError)
