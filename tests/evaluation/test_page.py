import html.parser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape

from threeages.data.terms import find_terms
from threeages.evaluation.age_thresholds import evaluate_age_thresholds
from threeages.evaluation.brackets import evaluate_brackets
from threeages.evaluation.evaluate import evaluate_table
from threeages.evaluation.mistakes import add_pictures, find_mistakes
from threeages.evaluation.page import render_report
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.provenance import Provenance
from threeages.evaluation.report_parts import ModelSummary, Report, find_thresholds
from threeages.evaluation.run_summary import RunSummary
from threeages.evaluation.thresholds import measure_thresholds
from threeages.inference.brackets import Brackets

GAP = {"name": "colours", "accuracy": 0.75, "interval": [0.7, 0.8], "apart": 0.5, "apart_interval": None}
SCRIPT = "<script>alert(1)</script>"


def create_table(n: int = 300, name: str = "image") -> PredictionTable:
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=n)
    probs = rng.dirichlet((1, 1, 1), n) * 0.7 + 0.3 * np.eye(3)[labels]
    ages = rng.integers(13, 80, n)
    columns = {
        "identity": tuple(str(i % 120) for i in range(n)),
        "pose": tuple(("<i>left&", "right")[i % 2] for i in range(n)),
        "age": tuple(map(str, ages)),
        "predicted_age": tuple(str(age + rng.normal(0, 5)) for age in ages),
        "predicted_low": tuple(str(age - 9) for age in ages),
        "predicted_high": tuple(str(age + 9) for age in ages),
    }
    status = ("<bad>", *["ok"] * (n - 1))
    probs[0] = np.nan
    paths = tuple(f"{name}-{i}.jpg" for i in range(n))
    return PredictionTable(paths, labels, status, probs, probs.max(1), columns, Provenance("random"))


def create_report(table: PredictionTable, root: Path | None = None) -> Report:
    """A report with every section."""
    result = evaluate_table(table, resamples=50)
    ages = evaluate_age_thresholds(table, (18, 21))
    result = replace(
        result, age_thresholds=ages, brackets=evaluate_brackets(table, Brackets.create("0,18,50"))
    )
    history = tuple({"epoch": e, "train_accuracy": 0.5, "train_loss": 1.0, "seconds": 2.0} for e in (1, 2))
    run = RunSummary(
        {"model": SCRIPT, "augmentation": {"blur": 0.2}, "ema": None},
        "identity-disjoint split",
        {"train": 900, "test": 300},
        ((find_terms("utkface"), 900),),
        history,
        {"python": "3.11"},
    )
    mistakes = find_mistakes(table)
    return Report(
        result,
        run,
        {"images": 5, "readable": 4, "counts": {SCRIPT: 1}},
        {"verdict": f"It leaks. {SCRIPT}", "findings": ["5 copies."], "answers": [GAP], "split": "random"},
        measure_thresholds(replace(table, provenance=Provenance("identity"))),
        "",
        ModelSummary("tiny", "cnn", 32, 0.5, 1.25, "cpu", "a machine", ((0.1, 0.8, 0.5, 0.09),)),
        add_pictures(mistakes, root) if root else mistakes,
        f"---\nlicense: other\n---\n# The card\n\n{SCRIPT}\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n",
    )


class _Outline(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in {"src", "href"} and value]


@pytest.fixture(scope="module")
def table() -> PredictionTable:
    return create_table(name=SCRIPT)


@pytest.fixture(scope="module")
def page(table: PredictionTable) -> str:
    return render_report(create_report(table))


def test_every_text_is_escaped(page: str) -> None:
    tags = set(_Outline(page).tags)
    assert not {"script", "i", "bad", "link", "iframe"} & tags
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5
    assert "&lt;i&gt;left&amp;" in page
    assert "&lt;bad&gt; 1" in page


def test_nothing_is_loaded(page: str) -> None:
    links = _Outline(page).links
    assert links
    assert all(link.startswith(("#", "data:image/")) for link in links)
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\'' in page


def test_every_link_of_the_sections_has_a_section(page: str) -> None:
    navigation = page.split("<nav")[1].split("</nav>")[0]
    links = _Outline(navigation).links
    assert len(links) == 11
    assert all(f'id="{link[1:]}"' in page for link in links)


def test_metrics_stand_with_their_intervals(table: PredictionTable, page: str) -> None:
    result = create_report(table).evaluation
    low, high = result.intervals["accuracy"]
    assert f"<td>{result.metrics['accuracy']:.3f}</td><td>{low:.3f}-{high:.3f}</td>" in page
    assert "of 120 identities" in page
    assert result.notes
    assert all(f'<p class="warning">{escape(note)}</p>' in page for note in result.notes)


def test_sections_say_what_was_given(page: str) -> None:
    for text in (
        "It leaks.",
        "5 copies.",
        "0.700-0.800",
        "900 train, 300 test rows.",
        "non-commercial research",
        "1.25 ms",
        "The card",
    ):
        assert text in page
    assert "<table>\n<thead>\n<tr>\n<th>a</th>" in page
    assert "license: other" not in page
    assert "Training took 4 seconds in 2 epochs" in page
    assert "blur 0.2" in page
    assert "4 of 5 images can be read." in page


def test_what_was_not_given_is_named_with_its_command(table: PredictionTable) -> None:
    text = render_report(Report(evaluate_table(table, resamples=20)))
    for command in ("data audit", "data leakage", "--root FOLDER", "--model FILE", "--card FILE", "--at 18"):
        assert command in text.split("Not in this report")[1]
    assert 'id="leakage"' not in text
    assert 'id="card"' not in text


def test_a_slice_shows_its_interval_as_a_line(page: str) -> None:
    assert page.count('<svg class="whisker"') >= 2


def test_pictures_have_no_names_twice_and_take_the_colour_of_the_text(page: str) -> None:
    assert '<g id="' not in page
    assert "currentColor" in page
    assert "#000000" not in page


def test_a_model_without_years_and_identities_has_a_report() -> None:
    table = replace(create_table(40), columns={}, provenance=Provenance())
    text = render_report(Report(evaluate_table(table, resamples=20), mistakes=find_mistakes(table)))
    assert "Mean error in years" not in text
    assert "identities" not in text.split("<nav")[0].split("<header>")[1]


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(browser: Any, tmp_path: Path, faces_csv: Path, scheme: str) -> None:
    report = create_report(_table_of(faces_csv), faces_csv.parent)
    (tmp_path / "report.html").write_text(render_report(report), encoding="utf-8")
    with _open(browser, tmp_path / "report.html", scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator(".gallery img").count() == len(report.mistakes) > 0
        assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
        assert page.locator("figure svg").count() == 3
        colors = "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        ink, paper = (_brightness(color) for color in page.evaluate(colors))
        assert (ink > paper) == (scheme == "dark")
        text = "getComputedStyle(document.querySelector('figure text')).fill"
        assert abs(_brightness(page.evaluate(text)) - paper) > 100
        page.set_viewport_size({"width": 380, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.pdf(format="A4").startswith(b"%PDF")


def _table_of(faces_csv: Path) -> PredictionTable:
    """Answers to drawn faces, whose images lie beside the manifest."""
    from threeages.data.manifest import load_manifest

    manifest = load_manifest(faces_csv)
    n = len(manifest)
    table = create_table(n)
    return replace(table, paths=manifest.paths, labels=np.asarray((manifest.labels + 1) % 3))


def _brightness(color: str) -> float:
    """0 to 255 of a computed colour such as 'rgb(31, 41, 55)'."""
    return sum(float(part) for part in color.split("(")[1].rstrip(")").split(",")[:3]) / 3


@contextmanager
def _open(browser: Any, path: Path, scheme: str) -> Iterator[Any]:
    """A page of a file; at the end there was no console message and no request but for the file."""
    seen: list[str] = []
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1000, "height": 900})
    page.on("console", lambda message: seen.append(message.text))
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("request", lambda request: seen.append(request.url))
    page.goto(path.as_uri())
    yield page
    page.close()
    assert [text for text in seen if not text.startswith(("file:", "data:"))] == []


def test_corrected_labels_of_the_run_are_listed(table: PredictionTable) -> None:
    report = create_report(table)
    assert report.run is not None
    assert "corrected by a review" not in render_report(report)
    corrections = {"train": {"3fa2": 12, "b001": 1}, "test": {"3fa2": 2}}
    page = render_report(replace(report, run=replace(report.run, corrections=corrections)))
    listed = "12 train (file 3fa2), 1 train (file b001), 2 test (file 3fa2)."
    assert f"Labels corrected by a review: {listed}" in page


def test_a_random_split_has_no_thresholds_but_the_reason(table: PredictionTable) -> None:
    found, reason = find_thresholds(table)
    assert found is None
    page = render_report(replace(create_report(table), thresholds=None, no_thresholds=reason))
    assert "No thresholds: These predictions are of a random split" in page


def test_what_is_too_little_is_said_in_words() -> None:
    table = replace(create_table(12), provenance=Provenance())
    identity = tuple("ab"[i % 2] for i in range(12))
    table = replace(table, columns=table.columns | {"identity": identity})
    page = render_report(Report(evaluate_table(table, resamples=20)))
    assert "Too few to tell: 11 images of 2 identities were scored" in page
    assert page.count("<small>too few to tell</small>") == 4
    assert "too few to tell: 1 of 30 identities" in page
    assert "bootstrap over" not in page


def test_a_limit_without_a_challenge_age_has_a_sentence(table: PredictionTable) -> None:
    ages = evaluate_age_thresholds(table, (18,), target_rates=(0.01,))
    page = render_report(Report(replace(evaluate_table(table, resamples=20), age_thresholds=ages)))
    assert "Limit 18: no challenge age up to 100 can be shown to meet the target 1.0%." in page
    assert "Target false acceptance" not in page


def test_leakage_says_what_was_compared(table: PredictionTable) -> None:
    result = evaluate_table(table, resamples=20)
    header = ["answer that never looks at age", "accuracy", "estimated identities apart", "gap"]
    estimated = {"verdict": "x", "answers": [GAP], "answers_header": header, "compared": "estimate"}
    assert '<th scope="col">Estimated identities apart</th>' in render_report(
        Report(result, leakage=estimated)
    )
    alone = {"verdict": "x", "answers": [GAP], "answers_header": header[:2], "compared": ""}
    page = render_report(Report(result, leakage=alone))
    assert "dentities apart</th>" not in page
    assert "<td>0.750 <small>0.700-0.800</small></td></tr>" in page
