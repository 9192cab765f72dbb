import csv
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from threeages.data.manifest import IDENTITY, load_manifest
from threeages.errors import ConfigError, DataError
from threeages.evaluation.predictions import load_predictions
from threeages.files.atomic import atomic_path
from threeages.files.locks import BusyError, hold_folder
from threeages.studies import finished
from threeages.studies import reference as studying
from threeages.studies.recipes import RECIPES, create_recipe
from threeages.studies.reference import Study, add_rows, describe_gaps, run_study, summarize
from threeages.training.config import TrainConfig


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def plan(faces_csv: Path, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setitem(RECIPES, "tiny", lambda: TrainConfig(input_size=48, epochs=1))
    return Study(
        load_manifest(faces_csv),
        tmp_path / "out",
        ("tiny", "tiny+coral"),
        folds=2,
        cache_dir=cache_dir,
    )


@pytest.mark.slow
def test_it_evaluates_every_recipe_on_both_splits_and_resumes(
    plan: Study, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trained: list[Path] = []
    original = finished.run_training

    def stop_at_the_third(manifest, config, run, **kwargs):  # type: ignore[no-untyped-def]
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(run)
        return original(manifest, config, run, **kwargs)

    monkeypatch.setattr(finished, "run_training", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run_study(plan)
    monkeypatch.setattr(finished, "run_training", original)
    caplog.clear()
    with caplog.at_level("INFO", "threeages.studies"):
        rows = run_study(plan)
    resumed = [r for r in caplog.records if r.name == studying.__name__]
    assert len(trained) + len(resumed) == 6  # two recipes, each once random and on two folds; none twice
    assert [(row["recipe"], row["split"]) for row in rows] == [
        ("tiny", "random"), ("tiny", "identity"), ("tiny+coral", "random"), ("tiny+coral", "identity"),
    ]  # fmt: skip
    assert rows[0]["published"] == "0.770"
    assert float(rows[1]["accuracy_low"]) <= float(rows[1]["accuracy"]) <= float(rows[1]["accuracy_high"])
    header, lines = summarize(rows)
    gap = float(rows[0]["accuracy"]) - float(rows[1]["accuracy"])
    assert lines[0][header.index("gap")].startswith(f"{gap:.3f} [")
    assert list(describe_gaps(rows)) == []
    report = (plan.out / "study.md").read_text()
    for line in report.splitlines():
        if line.startswith("!["):
            assert (plan.out / line.partition("](")[2].rstrip(")")).exists()
    assert run_study(plan) == rows
    assert {"machine", "date", "commit"} <= rows[0].keys()


def test_an_accuracy_on_the_random_split_has_the_gap_or_a_warning_beside_it(tmp_path: Path) -> None:
    cells = dict.fromkeys(("published", "balanced_accuracy", "f1_macro"), "") | {"parameters": "1"}
    cells |= {"seconds": "1", "recipe": "tiny"}
    random = {**cells, "split": "random", "accuracy": "0.90", "accuracy_low": "0.86", "accuracy_high": "0.93"}
    disjoint = {**cells, "split": "identity", "accuracy": "0.60", "accuracy_low": "0.57"}
    disjoint["accuracy_high"] = "0.64"
    header, lines = summarize([random, disjoint])
    assert lines[0][header.index("gap")] == "0.300 [0.243, 0.342]"  # 0.3 - hypot(.04, .04), + hypot(.03, .03)
    assert list(describe_gaps([random, disjoint])) == []
    (note,) = describe_gaps([random, {**disjoint, "recipe": "other"}])
    assert note.startswith("tiny: of a random split alone. The accuracy may reward recognising people")
    studying._write_markdown([random], tmp_path)
    assert f"**Warning.** {note}" in (tmp_path / "study.md").read_text()


@pytest.mark.slow
def test_only_rows_with_a_value_are_evaluated_where_one_is_given(plan: Study) -> None:
    sets = tuple("film" if i % 3 else "other" for i in range(len(plan.manifest)))
    manifest = replace(plan.manifest, columns=plan.manifest.columns | {"source": sets})
    some = replace(plan, manifest=manifest, recipes=("tiny",), splits=("identity",), folds=5)
    row = run_study(replace(some, only=("source", "film")))[0]
    assert int(row["n"]) == sets.count("film")


def test_rows_of_other_runs_are_kept(tmp_path: Path) -> None:
    old = {"recipe": "a", "split": "random", "accuracy": "0.5"}
    add_rows([old, {**old, "recipe": "b"}], tmp_path / "t.csv")
    found = add_rows([{**old, "accuracy": "0.6"}], tmp_path / "t.csv")
    assert [row["recipe"] for row in found] == ["b", "a"]
    with (tmp_path / "t.csv").open(newline="") as file:
        assert [(row["recipe"], row["accuracy"]) for row in csv.DictReader(file)] == [
            ("b", "0.5"),
            ("a", "0.6"),
        ]


def test_every_recipe_of_the_study_exists_and_its_parts_are_understood() -> None:
    for name in (*studying.RECIPES, *studying.ABLATION):
        create_recipe(name)
    assert create_recipe("frozen-features+alone+gender").extra_heads == {"gender": 0.3}
    config = create_recipe("corrected-mobilenet-v2+gender+corn")
    assert config == replace(
        create_recipe("corrected-mobilenet-v2"), extra_heads={"gender": 0.3}, head="corn"
    )
    with pytest.raises(ConfigError, match="no split 'peple'"):
        studying.parse_splits("random,peple")


def test_pretrained_weights_go_to_the_models_that_have_them(plan: Study) -> None:
    study = replace(plan, weights="weights")
    found = {name: studying._config(study, name, "random").weights for name in studying.RECIPES}
    assert {name for name, weights in found.items() if weights == "weights"} == {
        name for name in studying.RECIPES if "resnet50" in name or "mobilenet" in name
    }


@pytest.mark.parametrize(
    ("labels", "only", "words"),
    [
        (-1, None, "None of 120 rows has a label"),
        (2, None, "Every labelled row is OLD"),
        (None, ("source", "film"), "No row has source=film"),
    ],
)
def test_labels_are_checked_before_the_first_training(
    plan: Study,
    monkeypatch: pytest.MonkeyPatch,
    labels: int | None,
    only: tuple[str, str] | None,
    words: str,
) -> None:
    monkeypatch.setattr(finished, "run_training", lambda *_, **__: pytest.fail("trained"))
    manifest = plan.manifest
    if labels is not None:
        manifest = replace(manifest, labels=np.full(len(manifest), labels))
    with pytest.raises(DataError, match=words):
        run_study(replace(plan, manifest=manifest, only=only))


def test_too_few_identities_for_a_study_name_no_number_of_folds(
    plan: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finished, "run_training", lambda *_, **__: pytest.fail("trained"))
    few = plan.manifest.select(range(20))  # four identities
    with pytest.raises(DataError, match="A study needs identities for 5 folds") as raised:
        run_study(replace(plan, manifest=few, splits=("identity",)))
    assert "--folds" not in str(raised.value)


def test_rows_that_only_are_evaluated_need_a_label(plan: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished, "run_training", lambda *_, **__: pytest.fail("trained"))
    sets = tuple("film" if i % 3 else "other" for i in range(len(plan.manifest)))
    labels = np.where(np.asarray(sets) == "other", -1, plan.manifest.labels)
    manifest = replace(plan.manifest, labels=labels, columns=plan.manifest.columns | {"source": sets})
    with pytest.raises(DataError, match=r"None of .* of the random split has a label"):
        run_study(replace(plan, manifest=manifest, only=("source", "other")))


WRITES = ("last.ckpt", "best.ckpt", "metrics.csv", "test_metrics.json", "predictions.csv", "report.html",
          "finished.json", "study.json", "study.csv", "study.md")  # fmt: skip


def _rows(plan: Study) -> list[dict[str, str]]:
    """The rows but for what every start measures anew."""
    return [{k: v for k, v in row.items() if k not in {"seconds", "date"}} for row in run_study(plan)]


@pytest.fixture
def short(plan: Study) -> Study:
    return replace(plan, recipes=("tiny",), splits=("random",))


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITES)
def test_it_resumes_wherever_it_was_stopped(
    name: str, short: Study, whole: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the first writing of each file, which is before that of the next."""
    leave = atomic_path.__exit__

    def stop(part: atomic_path, *error: object) -> None:
        leave(part, *error)
        if part.path.name == name:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(atomic_path, "__exit__", stop)
        with pytest.raises(KeyboardInterrupt):
            run_study(short)
    assert _rows(short) == whole


@pytest.fixture(scope="module")
def whole(faces_csv: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(RECIPES, "tiny", lambda: TrainConfig(input_size=48, epochs=1))
        return _rows(Study(load_manifest(faces_csv), out, ("tiny",), ("random",), cache_dir=cache_dir))


DAMAGE: dict[str, Callable[[bytes], bytes] | None] = {
    "halved": lambda content: content[: len(content) // 2],
    "zeroed": lambda content: bytes(len(content)),
    "flipped": lambda content: content[:90] + bytes([content[90] ^ 1]) + content[91:],
    "empty": lambda content: b"",
    "missing": None,
}


@pytest.mark.slow
def test_damaged_files_of_finished_runs_are_made_again(
    short: Study,
    whole: list[dict[str, str]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _rows(short) == whole
    run = short.out / "tiny" / "random-0"
    before = {file: file.read_bytes() for file in (*run.iterdir(), *short.out.iterdir()) if file.is_file()}
    names = ("predictions.csv", "metrics.csv", "best.ckpt", "config.json", "report.html", "finished.json")
    for name, kind in zip(names, cycle(DAMAGE), strict=False):
        _damage(run / name, kind)
        caplog.clear()
        assert _rows(short) == whole, (name, kind)
        assert name == "finished.json" or f"{name} is missing or damaged" in caplog.text
        assert (run / name).stat().st_size == len(before[run / name])
    monkeypatch.setattr(finished, "run_training", None)  # nothing is left to train
    for name, kind in zip(("study.csv", "study.md", "study.json"), cycle(DAMAGE), strict=False):
        _damage(short.out / name, kind)
        caplog.clear()
        assert _rows(short) == whole
        assert (short.out / name).read_bytes() == before[short.out / name]
        assert ("study.json is damaged" in caplog.text) == (name == "study.json")


def _damage(path: Path, kind: str) -> None:
    damage = DAMAGE[kind]
    path.write_bytes(damage(path.read_bytes())) if damage else path.unlink()


@pytest.mark.slow
def test_a_folder_takes_no_other_data_or_settings(short: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    run_study(short)
    labels = short.manifest.labels.copy()
    labels[0] = (labels[0] + 1) % 3
    other_labels = replace(short.manifest, labels=labels)
    other_images = short.manifest.select(np.arange(100))
    for manifest, what in ((other_labels, "other labels"), (other_images, "other images")):
        for recipes in (("tiny",), ("tiny+coral",)):
            with pytest.raises(ConfigError, match=f"made with .*{what}") as raised:
                run_study(replace(short, manifest=manifest, recipes=recipes))
            assert "--out" in raised.value.hint
    with pytest.raises(ConfigError, match="another configuration"):
        run_study(replace(short, recipes=("tiny+coral", "tiny"), epochs=3))
    others: tuple[dict[str, Any], ...] = ({"epochs": 3}, {"seed": 7}, {"only": (IDENTITY, "drawn-000")})
    for other in others:  # one table would hold rows that cannot be compared, and say nothing of it
        monkeypatch.setattr(studying, "check_labels", lambda *_: "")
        monkeypatch.setattr(studying, "check_age_groups", lambda *_, **__: None)
        monkeypatch.setattr(studying, "find_rows", lambda *_: np.arange(1))
        with pytest.raises(ConfigError, match="a study of another configuration"):
            run_study(replace(short, recipes=("tiny+coral",), **other))
    assert not (short.out / "tiny+coral").exists()


@pytest.mark.slow
def test_a_run_of_other_data_is_not_taken_for_this_studys(short: Study) -> None:
    run_study(short)
    (short.out / "study.json").unlink()
    labels = np.roll(short.manifest.labels, 1)
    with pytest.raises(ConfigError, match="random-0 was made with other labels"):
        run_study(replace(short, manifest=replace(short.manifest, labels=labels)))


@pytest.mark.slow
def test_other_columns_of_the_manifest_are_evaluated_again(
    short: Study, caplog: pytest.LogCaptureFixture
) -> None:
    run_study(short)
    sets = tuple("film" if i % 3 else "other" for i in range(len(short.manifest)))
    manifest = replace(short.manifest, columns=short.manifest.columns | {"source": sets})
    all_rows = run_study(replace(short, manifest=manifest))
    assert "its manifest has other columns; the run is evaluated again" in caplog.text
    (short.out / "study.json").unlink()  # its table takes no rows of another --only; its runs serve both
    found = run_study(replace(short, manifest=manifest, only=("source", "film")))
    assert int(found[0]["n"]) < int(all_rows[0]["n"])
    of_run = load_predictions(short.out / "tiny" / "random-0" / "predictions.csv")
    assert len(of_run) == int(all_rows[0]["n"])  # the evaluation of some rows left those of the run


def test_two_studies_do_not_share_a_folder(short: Study) -> None:
    with hold_folder(short.out), pytest.raises(BusyError, match="Another process is at work"):
        run_study(short)
