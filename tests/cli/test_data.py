import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from threeages.cli.main import app
from threeages.data.manifest import load_manifest
from threeages.errors import ConfigError, DataError


def _run(*args: str) -> tuple[str, str]:
    """What a command prints on stdout and stderr."""
    done = CliRunner().invoke(app, ["data", *args], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout, done.stderr


def test_split_prints_results_on_stdout_and_progress_on_stderr(faces_csv: Path, tmp_path: Path) -> None:
    stdout, stderr = _run("split", str(faces_csv), "--cache-dir", str(tmp_path))
    lines = [line for line in stdout.splitlines() if not line.startswith("Warning: ")]
    assert [line.split()[0] for line in lines] == ["train", "validation", "test", "0", "0"]
    assert sum(int(line.split()[1]) for line in lines[:3]) == 120
    assert "exact duplicates" in lines[3]
    assert "near duplicates" in lines[4]
    assert "Caching" in stderr
    assert "Warning: No validation row of fold 0 is OLD." in stdout


def test_a_random_split_says_what_it_shares(faces_csv: Path, tmp_path: Path) -> None:
    stdout, _ = _run("split", str(faces_csv), "--mode", "random", "--cache-dir", str(tmp_path))
    assert "The validation rows are the test rows" in stdout
    assert "identities are in both train and test rows. The accuracy may reward" in stdout


def test_rows_that_were_oversampled_before_a_random_split_are_warned_of(
    faces_csv: Path, tmp_path: Path
) -> None:
    header, *rows = faces_csv.read_text().splitlines()
    copies = []
    for row in rows[:60]:
        name, _, rest = row.partition(",")
        shutil.copy(faces_csv.parent / name, tmp_path / f"{name}-again.jpg")
        shutil.copy(faces_csv.parent / name, tmp_path / name)
        copies += [row, f"{name}-again.jpg,{rest}"]
    manifest = tmp_path / "faces.csv"
    manifest.write_text("\n".join([header, *copies]))
    stdout, _ = _run("split", str(manifest), "--mode", "random", "--cache-dir", str(tmp_path / "c"))
    assert "of 24 test rows are in the train rows, as where rows were oversampled" in stdout
    stdout, _ = _run("split", str(manifest), "--folds", "3", "--cache-dir", str(tmp_path / "c"))
    assert "0 test images are exact duplicates" in stdout
    assert "oversampled" not in stdout


def test_import_joins_identities_and_counts_exclusions(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("path,age\na.jpg,20\nb.jpg,60\nc.jpg,4\n")
    for name in "abc":
        (tmp_path / f"{name}.jpg").touch()
    (tmp_path / "who.csv").write_text("ID,person\na.jpg,p1\nb.jpg,p2\n")
    out = tmp_path / "faces.csv"
    stdout, _ = _run(
        "import", str(tmp_path / "set.csv"), "--out", str(out), "--identities", str(tmp_path / "who.csv")
    )
    assert "2 rows (csv): YOUNG 1, MIDDLE 0, OLD 1" in stdout
    assert "excluded: under_13 1" in stdout
    assert load_manifest(out).columns["identity"] == ("p1", "p2")


def test_merge_names_the_identities_of_each_part(faces_csv: Path, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("path,label\nx.jpg,OLD\n")
    stdout, _ = _run("merge", str(faces_csv), str(tmp_path / "more.csv"), "--out", str(tmp_path / "m.csv"))
    assert "faces 120 rows, 24 identities" in stdout
    assert "more 1 row, one identity per image" in stdout


def test_audit_counts_findings_and_writes_them(faces_csv: Path, tmp_path: Path) -> None:
    first = load_manifest(faces_csv).files()[0]
    (tmp_path / "a.jpg").write_bytes(first.read_bytes())
    (tmp_path / "b.jpg").write_bytes(first.read_bytes())
    (tmp_path / "m.csv").write_text("path,label\na.jpg,OLD\nb.jpg,YOUNG\n")
    stdout, _ = _run("audit", str(tmp_path / "m.csv"), "--out", str(tmp_path / "out"))
    assert dict(line.split()[:2] for line in stdout.splitlines()[:2]) == {
        "exact_duplicate": "2",
        "label_conflict": "2",
    }
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"audit.json", "audit.csv", "classes.png"}


def test_bounds_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("path,age\na.jpg,20\n")
    with pytest.raises(ConfigError, match="--bounds was '13'"):
        _run("import", str(tmp_path / "set.csv"), "--bounds", "13", "--out", str(tmp_path / "o.csv"))


def test_too_many_folds_name_the_number_that_works(faces_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Or give --folds 24"):
        _run("split", str(faces_csv), "--folds", "30", "--cache-dir", str(tmp_path))


def test_import_names_what_did_not_match_and_takes_options(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "notes.txt", ".hidden.jpg"):
        (folder / name).touch()
    table = folder / "set.csv"
    table.write_text("foto;gruppe;jahre\na.jpg;Adult;40,5\nb.jpg;child;7\nc.jpg;Senior;70\nx.jpg;OLD;80\n")
    columns = ("--path-column", "foto", "--label-column", "Gruppe", "--age-column", "jahre")
    out = tmp_path / "faces.csv"
    stdout, _ = _run("import", str(table), "--out", str(out), *columns)
    assert "1 row (csv): YOUNG 0, MIDDLE 0, OLD 1" in stdout
    assert "'Adult' (1), 'child' (1). Give it one with --map 'Adult=MIDDLE'" in stdout
    assert "There is 1 missing file, first x.jpg" in stdout
    stdout, _ = _run(
        "import", str(table), "--out", str(out), *columns, "--map", "adult=MIDDLE", "--map", "child=0"
    )
    assert "3 rows (csv): YOUNG 1, MIDDLE 1, OLD 1" in stdout
    assert load_manifest(out).columns == {"age": ("40.5", "7", "70")}
    with pytest.raises(ConfigError, match="Unknown label 'ADULTS'"):
        _run("import", str(table), "--map", "x=ADULTS")


def test_import_and_audit_count_what_they_pass_over_on_stderr(faces_csv: Path, tmp_path: Path) -> None:
    for name in ("young", "old"):
        (tmp_path / "set" / name).mkdir(parents=True)
    (tmp_path / "set" / "young" / "a.jpg").write_bytes(load_manifest(faces_csv).files()[0].read_bytes())
    (tmp_path / "set" / "young" / "notes.txt").touch()
    (tmp_path / "set" / "young" / ".a.jpg").touch()
    _, stderr = _run("import", str(tmp_path / "set"), "--out", str(tmp_path / "m.csv"))
    assert sorted(stderr.strip().removeprefix("Passed over: ").rstrip(".").split(", ")) == [
        ".txt 1",
        "hidden 1",
    ]
    _, again = _run("audit", str(tmp_path / "m.csv"), "--out", str(tmp_path / "out"))
    assert stderr.strip() in again


def test_rows_without_a_label_are_audited_and_split(faces_csv: Path, tmp_path: Path) -> None:
    lines = faces_csv.read_text().splitlines()
    at = lines[0].split(",").index("label")
    rows = [line.split(",") for line in lines]
    rows = [
        [*row[:at], "" if number % 9 == 8 else row[at], *row[at + 1 :]] for number, row in enumerate(rows)
    ]
    table = tmp_path / "faces.csv"
    table.write_text("\n".join(map(",".join, rows)) + "\n")
    root = str(faces_csv.parent)
    stdout, _ = _run("audit", str(table), "--root", root, "--out", str(tmp_path / "audit"))
    assert "Written to" in stdout
    stdout, _ = _run("split", str(table), "--root", root, "--cache-dir", str(tmp_path / "cache"))
    assert sum(int(line.split()[1]) for line in stdout.splitlines()[:3]) == 120
    (tmp_path / "none.csv").write_text("path\na.jpg\n")
    with pytest.raises(DataError, match="no column label"):
        CliRunner().invoke(app, ["data", "audit", str(tmp_path / "none.csv")], catch_exceptions=False)


def test_merge_names_the_terms_of_every_source(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,label,source\nx.jpg,OLD,fairface\ny.jpg,OLD,\n")
    stdout, _ = _run("merge", str(tmp_path / "a.csv"), "--out", str(tmp_path / "m.csv"))
    assert "source fairface 1 row: permissive (CC BY 4.0)" in stdout
    assert "source a 1 row: unknown" in stdout
