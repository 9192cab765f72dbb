from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threeages.data.manifest import Manifest, load_manifest
from threeages.errors import ConfigError, DataError
from threeages.evaluation.predictions import load_predictions, save_predictions
from threeages.files.csvfiles import read_csv
from threeages.studies.cross_source import (
    AHEAD,
    MEAN,
    METRICS,
    OTHERS,
    YEARS_MAE,
    CrossSource,
    average_rows,
    find_sources,
    run_cross_source,
    save_table,
    summarize,
)
from threeages.training.config import TrainConfig


def _manifest(**counts: tuple[int, int, int]) -> Manifest:
    """Rows without images: of each source so many YOUNG, MIDDLE and OLD."""
    sources = [name for name, count in counts.items() for _ in range(sum(count))]
    labels = [label for count in counts.values() for label, n in enumerate(count) for _ in range(n)]
    paths = tuple(f"{row}.jpg" for row in range(len(labels)))
    return Manifest(Path(), paths, np.asarray(labels), {"source": tuple(sources)})


def test_sources_with_few_of_an_age_group_are_not_held_out_unless_joined() -> None:
    manifest = _manifest(a=(20, 20, 20), b=(10, 30, 40), c=(0, 30, 30), d=(12, 1, 30))
    assert find_sources(manifest, {}) == {"b": ("b",), "a": ("a",)}
    joined = find_sources(manifest, {"others": ("c", "d")})
    assert joined == {"others": ("c", "d"), "b": ("b",), "a": ("a",)}


@pytest.mark.parametrize(
    ("joined", "message"),
    [({"x": ("a", "z")}, "'z' is not one source"), ({"x": ("a",), "y": ("a",)}, "'a' is not one source")],
)
def test_unknown_and_repeated_sources_are_refused(joined: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_sources(_manifest(a=(20, 20, 20)), joined)


def test_a_manifest_without_sources_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"No source has 10.*\n.*data merge"):
        find_sources(replace(_manifest(a=(20, 20, 20)), columns={}), {})


def test_the_mean_weighs_sources_alike_and_narrows_with_their_number() -> None:
    cells = {"ece": "0.10", "ece_low": "0.08", "ece_high": "0.12"}
    row = {f"{name}{end}": "" for name in (*METRICS, YEARS_MAE, AHEAD) for end in ("", "_low", "_high")}
    first = row | cells | {"model": "m", "held_out": "a", "n": "10", "identities": "5"}
    second = first | {"held_out": "b", "n": "1000", "ece": "0.20", "ece_low": "0.18", "ece_high": "0.22"}
    mean = average_rows([first, second])
    assert (mean["held_out"], mean["n"], mean["identities"]) == (MEAN, "1010", "10")
    assert float(mean["ece"]) == pytest.approx(0.15)
    assert float(mean["ece_high"]) - float(mean["ece"]) == pytest.approx(0.02 / np.sqrt(2), abs=1e-4)
    assert mean[YEARS_MAE] == ""


@pytest.mark.slow
def test_every_source_is_answered_by_models_that_never_met_it(
    faces_csv: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drawn = load_manifest(faces_csv)
    names = drawn.identities()
    assert names is not None
    number = {name: i for i, name in enumerate(dict.fromkeys(names.tolist()))}
    sources = tuple("abc"[number[name] // 3 % 3] for name in names.tolist())
    manifest = replace(drawn, columns={**drawn.columns, "source": sources})
    ages = tuple(
        age if source == "a" else "" for age, source in zip(manifest.columns["age"], sources, strict=True)
    )
    manifest = replace(manifest, columns={**manifest.columns, "age": ages})
    settings = {"extra_heads": {"years": 1.0}, "options": {"filters": [8, 8, 8, 8], "dense": 16}}
    study = CrossSource(
        manifest,
        TrainConfig(input_size=48, epochs=1, **settings),
        tmp_path / "out",
        baseline=("a", "b"),
        cache_dir=tmp_path / "cache",
    )
    rows = run_cross_source(study)
    held_out = sorted(find_sources(manifest, {}))
    assert sorted({row["held_out"] for row in rows}) == sorted([*held_out, MEAN])
    assert {row["model"] for row in rows} == {OTHERS, "a,b"}
    assert "The model gets no head for years" in caplog.text  # without the source a nobody's age is known
    for source in held_out:
        table = load_predictions(tmp_path / "out" / "all" / source / "predictions.csv")
        assert set(table.columns["source"]) == {source}
        other = load_predictions(tmp_path / "out" / "a+b" / source / "predictions.csv")
        assert other.paths == table.paths
    assert run_cross_source(study) == rows  # finished runs are not trained again
    (tmp_path / "out" / "all" / held_out[0] / "predictions.csv").write_bytes(b"path,label\n")
    assert run_cross_source(study) == rows  # what is damaged is made again
    labels = np.roll(manifest.labels, 1)
    with pytest.raises(ConfigError, match="was made with other labels"):
        run_cross_source(replace(study, manifest=replace(manifest, labels=labels)))

    answers = tmp_path / "answers.csv"
    whole = load_predictions(tmp_path / "out" / "all" / held_out[0] / "predictions.csv")
    save_predictions(whole, answers)
    peer = [row for row in run_cross_source(replace(study, answers={"peer": answers})) if row not in rows]
    assert [row["held_out"] for row in peer] == [held_out[0], MEAN]  # it has no answer of another source
    own = next(row for row in rows if row["held_out"] == held_out[0])
    assert peer[0] == own | {"model": "peer"}
    save_predictions(whole.take(range(len(whole) - 1)), answers)
    with pytest.raises(DataError, match=r"lacks 1 of the images to evaluate"):
        run_cross_source(replace(study, answers={"peer": answers}))

    save_table([{"recipe": "tiny"} | row for row in rows], tmp_path / "table.csv")
    assert len(read_csv(tmp_path / "table.csv").rows) == len(rows)
    header, lines = summarize(rows)
    assert len(header) == len(lines[0])
