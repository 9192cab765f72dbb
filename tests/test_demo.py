"""The demo is the first thing that a newcomer sees, so what it shows is tested."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from threeages import demo
from threeages.cli.main import app


@pytest.fixture
def without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREEAGES_DATA", str(tmp_path / "none"))


def test_the_portraits_are_answered() -> None:
    records = demo.predict_portraits()
    assert {Path(record.path).name for record in records} == {"grace_hopper.jpg", "astronaut.png"}
    assert all(record.status == "ok" and record.age_group for record in records)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the faces and their features are made once, for both seeds."""
    return tmp_path_factory.mktemp("demo")


@pytest.mark.slow
@pytest.mark.usefixtures("without_data")
@pytest.mark.parametrize("seed", [1, 42])
def test_it_recognises_every_group_of_new_identities(seed: int, out: Path) -> None:
    shutil.rmtree(out / "run-drawn", ignore_errors=True)  # that of the other seed
    run = demo.train_on_faces(out, seed)
    assert run.faces == "drawn faces"
    assert run.evaluation.unit == "identity"
    assert run.evaluation.metrics["balanced_accuracy"] > 0.8
    assert all(metrics["recall"] > 0.6 for metrics in run.evaluation.per_class.values())
    assert run.report.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("without_data")
def test_its_last_lines_say_where_the_report_and_the_page_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "IDENTITIES", 15)
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    *_, report, page = result.stdout.splitlines()
    assert report.endswith(str(tmp_path / "run-drawn" / "report.html"))
    assert Path(report.split(": ")[-1]).exists()
    assert "threeages serve" in page
    assert "http://127.0.0.1:8000" in page
