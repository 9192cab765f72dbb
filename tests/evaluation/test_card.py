from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import EvalResult, ModelCard
from PIL import Image

from threeages.data.manifest import Manifest, load_manifest
from threeages.data.terms import SHIPPED, find_terms
from threeages.errors import ConfigError, DataError
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


def _card(
    table: PredictionTable,
    root: Path | None,
    out: Path,
    *,
    is_shipped: bool = True,
    sources: dict[str, int] | None = None,
) -> str:
    sets = [CardSet("Synthetic", table, root)]
    write_card(
        sets, SIGNATURE, out, name="test model", megabytes=1.25, has_years=False, is_shipped=is_shipped,
        train_sources=sources,
    )  # fmt: skip
    return out.read_text(encoding="utf-8")


def _body(card: str) -> str:
    """The text of a card behind its front matter."""
    return card.split("\n---\n\n", 1)[1]


def _scores(text: str) -> dict[tuple[str, str], dict[str, EvalResult]]:
    """What a hub reads from a card: metrics by type, for each type and split of data."""
    found: dict[tuple[str, str], dict[str, EvalResult]] = {}
    for score in ModelCard(text).data.eval_results:
        found.setdefault((score.dataset_type, score.dataset_split), {})[score.metric_type] = score
    return found


def _tables(text: str) -> list[Rows]:
    """Every Markdown table of a card."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    cells = [[[c.strip() for c in line.strip("|").split("|")] for line in block] for block in blocks]
    return [{row[0]: row[1:] for row in (block[0], *block[2:])} for block in cells]


def test_the_numbers_are_those_of_the_evaluation(
    table: PredictionTable, manifest: Manifest, tmp_path: Path
) -> None:
    text = _card(table, manifest.root, tmp_path / "card.md")
    _, summary, classes, *slices, risk, sets = _tables(text)  # the first is that of the sources
    result = evaluate_table(with_image_columns(table, manifest.root))
    metrics = [format_with_interval(result, name) for name in (*SLICE_METRICS, "ece")]
    assert summary["Synthetic"] == ["120", "24", *metrics, ""]
    old = result.per_class["OLD"]
    assert classes["OLD"] == [*(f"{old[k]:.3f}" for k in ("precision", "recall", "f1")), f"{old['support']}"]
    by_column = {next(iter(rows)): rows for rows in slices}
    for title, column in (("By gender", "gender"), ("By shorter side in pixels", "image_size")):
        for value, found in result.slices[column].items():
            expected = [
                f"{found['n']:,}",
                f"{found['units']:,}",
                *(f"{found[name]:.3f}" for name in SLICE_METRICS),
            ]
            assert by_column[title][value] == expected  # below 30 identities without an interval
    single = replace(table, columns=table.columns | {"identity": manifest.paths})
    text = _card(single, None, tmp_path / "single.md")
    slices = evaluate_table(single).slices["gender"]
    by_gender = next(rows for rows in _tables(text) if "By gender" in rows)
    for value, found in slices.items():
        low, high = found["accuracy_low"], found["accuracy_high"]
        assert by_gender[value][1] == "60"
        assert by_gender[value][2] == f"{found['accuracy']:.3f} ({low:.3f}-{high:.3f})"
    covered = table.confidence >= 0.875
    wrong = (table.probs.argmax(axis=1) != table.labels)[covered].mean()
    assert risk["10%"] == ["0.875", f"{covered.mean():.3f}", f"{wrong:.3f}"]
    assert sets["90%"] == ["0.250"]


def test_product_version_and_terms_come_first_and_lines_are_short(
    table: PredictionTable, tmp_path: Path
) -> None:
    title, _, first, *lines = _body(_card(table, None, tmp_path / "card.md")).splitlines()
    assert title == f"# Model card: threeages {version('threeages')} test model"
    assert "may not be used commercially" in first
    assert max(len(line) for line in lines if not line.startswith("|")) <= 120
    own = _card(table, None, tmp_path / "own.md", is_shipped=False)
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
    text = _card(table, None, tmp_path / "card.md")
    assert text.count("**Warning.**") == text.count("too few to tell, as 10 or more are needed.") == 3


def test_the_shipped_card_names_the_version_the_terms_and_every_source() -> None:
    root = Path(__file__).parents[2] / "src" / "threeages"
    text = (root / "assets" / "default.md").read_text(encoding="utf-8")
    title, _, first, *_ = _body(text).splitlines()
    assert title == f"# Model card: threeages {version('threeages')} default model"
    terms = (root / "evaluation" / "templates" / "terms_default.md").read_text(encoding="utf-8")
    assert first == terms.splitlines()[0]
    sources = _tables(text)[0]
    assert {name.strip("`") for name in sources} == {"Source", *SHIPPED}
    for name in SHIPPED:
        assert int(sources[f"`{name}`"][0].replace(",", "")) > 0
        assert sources[f"`{name}`"][1:] == [
            find_terms(name).title,
            find_terms(name).terms,
            find_terms(name).use,
        ]


def test_the_shipped_card_tells_a_hub_what_its_tables_say() -> None:
    root = Path(__file__).parents[2] / "src" / "threeages"
    text = (root / "assets" / "default.md").read_text(encoding="utf-8")
    assert ModelCard(text).data.license == "other"
    kinds = ("accuracy", "balanced_accuracy", "f1", "ece")
    sets, *_, unseen, _ = (table for table in _tables(text) if {"Set", "Source never met"} & set(table))
    rows = {(name, "held-out identities"): cells[2:] for name, cells in list(sets.items())[1:]}
    rows |= {(name, "source never met"): cells[1:] for name, cells in list(unseen.items())[1:]}
    found = _scores(text)
    assert set(found) == set(rows)
    for key, scores in found.items():
        *metrics, years = rows[key]
        assert [scores[kind].metric_value for kind in kinds] == [float(cell.split()[0]) for cell in metrics]
        assert ("mae" in scores) == bool(years)
        assert not years or scores["mae"].metric_value == float(years)


def test_images_are_described(table: PredictionTable, manifest: Manifest) -> None:
    columns = with_image_columns(table, manifest.root).columns
    assert columns["color"][:2] == ("colour", "grey")
    assert columns["image_size"][1] == "32-63"
    assert columns["image_size"][0] != "32-63"
    assert set(with_image_columns(table, Path("/nowhere")).columns["color"]) == {""}
    outside = replace(table, paths=tuple(f"../{manifest.root.name}/{path}" for path in table.paths))
    (manifest.root / "sub").mkdir()
    assert set(with_image_columns(outside, manifest.root / "sub").columns["color"]) == {""}


def test_sources_of_the_training_have_a_row_with_their_terms(table: PredictionTable, tmp_path: Path) -> None:
    sources = {"utkface": 1200, "mine": 3}
    text = _card(table, None, tmp_path / "own.md", is_shipped=False, sources=sources)
    assert "do not allow any use" in " ".join(_body(text).splitlines()[2:5])
    assert "utkface, mine" in " ".join(_body(text).splitlines()[2:5])
    assert ModelCard(text).data.license == "other"
    terms = _tables(text)[0]
    assert terms["`utkface`"][0] == "1,200"
    assert terms["`utkface`"][-1] == "research-only"
    assert terms["`mine`"][-1] == "unknown"
    text = _card(table, None, tmp_path / "free.md", is_shipped=False, sources={"fairface": 5})
    assert "allow any use" in _body(text).splitlines()[2]
    assert "do not" not in _body(text).splitlines()[2]
    assert ModelCard(text).data.license == "unknown"  # its trainer's to choose


def test_the_sources_are_those_of_the_model_and_not_of_who_evaluated_it(
    table: PredictionTable, tmp_path: Path
) -> None:
    folds = replace(table, provenance=Provenance("identity", sources={"mine": 3}))
    text = _card(folds, None, tmp_path / "default.md")
    assert "may not be used commercially" in _body(text).splitlines()[2]
    assert ModelCard(text).data.license == "other"
    assert list(_tables(text)[0]) == ["Source", *(f"`{name}`" for name in SHIPPED)]
    write = partial(write_card, [CardSet("Synthetic", folds)], SIGNATURE, tmp_path / "run.md")
    write(name="test model", megabytes=1.25, has_years=False, train_sources={"fairface": 1500})
    terms = _tables((tmp_path / "run.md").read_text(encoding="utf-8"))[0]
    assert terms["`fairface`"][0] == "1,500"
    assert "`mine`" not in terms
    unknown = _card(folds, None, tmp_path / "unknown.md", is_shipped=False)
    assert "does not know what data" in unknown
    assert "`mine`" not in unknown


def test_a_hub_reads_every_metric_of_the_card(table: PredictionTable, tmp_path: Path) -> None:
    sets = [CardSet("one", replace(table, columns={**table.columns, "source": ("lfw",) * len(table)}))]
    sets.append(CardSet('two: "odd"\n\u2028# name', table))
    out = tmp_path / "card.md"
    write_card(sets, SIGNATURE, out, name="model a: b", megabytes=1.25, has_years=False)
    text = out.read_text(encoding="utf-8")
    data = ModelCard(text).data
    assert data.model_name == f"threeages {version('threeages')} model a: b"
    assert (data.pipeline_tag, data.library_name) == ("image-classification", "threeages")
    found = _scores(text)
    assert set(found) == {("one", "held-out identities"), (sets[1].name, "held-out identities")}
    result = evaluate_table(table)
    for scores in found.values():
        for name, kind in (("accuracy", "accuracy"), ("f1_macro", "f1"), ("ece", "ece")):
            assert scores[kind].metric_value == round(result.metrics[name], 3)
            low, high = result.intervals[name]
            assert f"interval {low:.3f}-{high:.3f})" in scores[kind].metric_name
    one, two = (scores["accuracy"].dataset_name for scores in found.values())
    assert one == f"{find_terms('lfw').title} (held-out identities)"
    assert two == f"{sets[1].name} (held-out identities)"
    # written again by the hub's own library, nothing of the metadata is lost or changed
    assert ModelCard(ModelCard(text).content).data.to_dict() == data.to_dict()


def test_two_sets_of_one_name_are_refused(table: PredictionTable, tmp_path: Path) -> None:
    sets = [CardSet("film", table), CardSet("film", table)]
    with pytest.raises(ConfigError, match="Two sets have the name film"):
        write_card(sets, SIGNATURE, tmp_path / "card.md", name="x", megabytes=1, has_years=False)
    assert not (tmp_path / "card.md").exists()


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
    whole = out.read_text(encoding="utf-8")
    assert [split for _, split in _scores(whole)] == ["held-out identities", *["source never met"] * 3]
    text = whole.split("## Sources never met")[1].split("\n## ")[0]
    summary, risks, sets = _tables(text)
    assert list(summary)[1] == "bad"
    assert set(summary) == {"Source never met", "good", "bad", "other"}
    report = measure_thresholds(unseen, by="held_out")
    assert risks["`--max-error`"] == [f"{e.target_error:.0%}" for e in report.errors]
    coverage, risk = report.errors[0].parts["bad"]
    assert risks["bad"][0] == f"{coverage:.3f}; {risk:.3f}"
    assert sets["bad"][0].startswith(f"{report.sets[0].parts['bad'][0]:.3f}; ")
    assert list(risks)[-1] == list(sets)[-1] == "mean"
