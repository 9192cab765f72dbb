"""The tables of the documentation, each made of results/*.csv and *.json; no number is typed."""

import csv
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
DEFAULT = {
    "film": "default, identity-disjoint, 5 folds",
    "utkface": "default, held-out UTKFace",
}
BEFORE = "default before distillation on film faces"  # the last model that a random split was run for
CORES = 2  # of the machine of results/benchmarks.csv
CORE_HOUR = 0.04  # USD, an assumption
SPACE = "\u00a0"  # keeps an interval on one line
CLASSES = ("YOUNG", "MIDDLE", "OLD")
Row = Mapping[str, str]


def read_rows(name: str) -> list[dict[str, str]]:
    """The rows of one csv of results."""
    with (RESULTS / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_json(name: str) -> Any:
    """One json file of results."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def shipped() -> str:
    """The README's table: the shipped model, the peers and the random split."""
    models = {row["model"]: row for row in read_rows("models")}
    film, utkface = (models[name] for name in DEFAULT.values())
    reports = [read_json(f"default-{name}/metrics.json") for name in ("identity", "utkface")]
    recalls = [
        ", ".join(f"{name} {_bold(report['per_class'][name]['recall'], name)}" for name in CLASSES)
        for report in reports
    ]
    apart, both = (models[f"{BEFORE}, {split}"] for split in ("identity-disjoint, 5 folds", "random"))
    elsewhere = _unseen_mean()
    rows = [
        ["accuracy, all faces",
         *(_bounded(row, "accuracy", bold=True) for row in (film, utkface, elsewhere))],
        *(
            [title, *(_bounded(row, name) for row in (film, utkface, elsewhere))]
            for title, name in (("balanced accuracy", "balanced_accuracy"), ("macro-F1", "f1_macro"))
        ),
        ["recall by group", *recalls, ""],
        ["expected calibration error", *(_number(row, "ece") for row in (film, utkface, elsewhere))],
        ["age in years, mean absolute error", "", f"{reports[1]['years']['mae']:.1f}",
         f"{float(elsewhere['years_mae']):.1f}"],
        *_beside_peers(),
        ["a predecessor, accuracy, identity-disjoint", _bounded(apart, "accuracy"), "", ""],
        ["a predecessor, accuracy, random split: the same persons on both sides", _bounded(both, "accuracy"),
         "", ""],
    ]  # fmt: skip
    return table(["", "film faces", "UTKFace", "six sources never met"], rows)


def _unseen_mean() -> Row:
    """The mean over the sources never met of models of the default's recipe."""
    rows = (row for row in read_rows("cross-source") if row["recipe"] == "default" and row["faces"] == "all")
    return next(row for row in rows if (row["model"], row["held_out"]) == ("all other sources", "mean"))


def _beside_peers() -> list[list[str]]:
    """The balanced accuracy of every model on the same sample of each source, by its name."""
    rows = [row for row in read_rows("cross-source") if row["faces"] == "sample"]
    found = []
    for name in dict.fromkeys(row["model"] for row in rows if "best" not in row["model"]):
        mine = {row["held_out"]: row for row in rows if row["model"] == name}
        cells = (_bounded(mine.get(source), "balanced_accuracy") for source in ("faces", "utkface", "mean"))
        found.append([f"balanced accuracy on the same sample of sources never met: {name}", *cells])
    return found


def models(kind: str) -> Callable[[], str]:
    """The evaluated models of one kind of evaluation, the best first."""

    def make() -> str:
        rows = [row for row in read_rows("models") if row["model"].endswith(kind)]
        header = ["model", "accuracy", "balanced accuracy", "macro-F1", "ECE", "date", "commit"]
        metrics = ("accuracy", "balanced_accuracy", "f1_macro")
        return table(
            header,
            [
                [_model(row["model"]), *(_bounded(row, metric) for metric in metrics), _number(row, "ece"),
                 *_origin(row)]
                for row in sorted(rows, key=lambda row: -float(row["accuracy"]))
            ],
        )  # fmt: skip

    return make


def _model(name: str) -> str:
    short = name.split(",")[0]
    return f"**{short}** (ships)" if name in DEFAULT.values() else short


def peers() -> str:
    """The peers' accuracy on the same faces."""
    header = ["set", "model", "bounds", "accuracy", "macro-F1", "years MAE", "commit"]
    rows = []
    for row in read_rows("peers"):
        if row["accuracy"]:
            metrics = (_ranged(row, metric) for metric in ("accuracy", "f1_macro"))
            rows.append([row["set"], row["model"], row["note"], *metrics, row["years_mae"], row["commit"]])
    return table(header, rows)


def peers_not_run() -> str:
    """Peers with an adapter that no row of the results is of, and what they need."""
    rows = [row for row in read_rows("peers") if row["set"] == "not run here"]
    return table(["model", "what it needs; its adapter"], [[row["model"], row["note"]] for row in rows])


def peers_speed() -> str:
    """Milliseconds of one photo, and the share of crops in which a peer's own detector finds a face."""
    rows = [row for row in read_rows("peers") if row["ms"] or row["share"]]
    return table(
        ["on", "model", "what", "value", "times threeages", "commit"],
        [
            [
                row["set"],
                row["model"],
                row["note"],
                row["ms"] or row["share"],
                row["times_ours"],
                row["commit"],
            ]
            for row in rows
        ],
    )


def photos() -> str:
    """What several photos of one person bring."""
    rows = []
    for row in sorted(read_rows("photos"), key=lambda row: row["model"] != "default"):
        metrics = (_bounded(row, metric) for metric in ("accuracy", "f1_macro"))
        rows.append([row["model"], row["photos"], *metrics, _number(row, "ece"), *_origin(row)])
    return table(["model", "photos", "accuracy", "macro-F1", "ECE", "date", "commit"], rows)


def identity_probe() -> str:
    """How well features name the identity, and the age accuracy that is left without that part."""
    names = ("identity_images", "identity_films", "accuracy", "balanced_accuracy")
    header = (
        "taken out",
        "directions",
        "identity: other images",
        "identity: other films",
        "age group",
        "balanced",
    )
    rows = read_rows("identity-probe")
    lines = ([r["erased"], r["removed"], *(_bounded(r, name) for name in names), *_origin(r)] for r in rows)
    return table([*header, "date", "commit"], lines)


def thresholds() -> str:
    """What each target error rate comes to on identities held out of the choice of its threshold."""
    found = read_json("default-identity/thresholds.json")
    return table(
        ["`--max-error`", "confidence from", "coverage", "selective risk"],
        [
            [
                f"{item['target_error']:.0%}",
                *(f"{item[key]:.3f}" for key in ("confidence", "coverage", "risk")),
            ]
            for item in found["errors"]
        ],
    )


def conformal() -> str:
    """What each coverage of the conformal sets comes to."""
    header = ["`--coverage`", "probability from", "true group in the set", "groups in the set"]
    rows = []
    for item in read_json("default-identity/thresholds.json")["sets"]:
        shares = (f"{item[key]:.3f}" for key in ("probability", "coverage"))
        rows.append([f"{item['target_coverage']:.0%}", *shares, f"{item['size']:.2f}"])
    return table(header, rows)


def classes() -> str:
    """Precision, recall and F1 of every group."""
    rows = []
    for name in ("identity", "utkface"):
        for group, found in read_json(f"default-{name}/metrics.json")["per_class"].items():
            cells = (f"{found[key]:.3f}" for key in ("precision", "recall", "f1"))
            source = "film faces" if name == "identity" else "UTKFace"
            rows.append([source, group, *cells, _count(found["support"])])
    return table(["set", "group", "precision", "recall", "F1", "images"], rows)


def benchmarks() -> str:
    """Speed of the parts, each beside its counterpart in the same run."""
    return _measures("benchmarks")


def serve() -> str:
    """Load, soak and fuzzing of the service."""
    return _measures("serve")


def scale() -> str:
    """Answers for very many images on disk: memory, rows after kills."""
    return _measures("scale", lambda row: not row["benchmark"].startswith("photo"))


def photo() -> str:
    """Where the time of a photo goes, and what else its parts could be made of."""
    return _measures("scale", lambda row: row["benchmark"].startswith("photo"))


def billion() -> str:
    """What 1,000,000,000 images take, computed from the measured rates of `predict`."""
    measured = {row["measure"]: row for row in read_rows("benchmarks") if row["benchmark"] == "predict"}
    rows = []
    for measure in ("folder of photos", "folder of crops"):
        row = measured[measure]
        rate = float(row["ours"]) / CORES
        hours = 1e9 / rate / 3600
        cells = [f"{rate:,.0f}", f"{hours:,.0f}", f"{hours / 1000:.1f}", f"{hours * CORE_HOUR:,.0f}"]
        rows.append([f"{measure}: {row['details']}", *cells, *_origin(row)])
    header = ["images", "images/s and core", "core-hours", "hours on 1,000 cores", "USD", "date", "commit"]
    return table(header, rows)


def _measures(name: str, chosen: Callable[[Row], bool] = bool) -> str:
    header = ["what", "unit", "here", "beside", "ratio", "details", "date", "commit"]
    rows = []
    for row in filter(chosen, read_rows(name)):
        other = f"{row['other_name']}: {_short(row['other'])}" if row["other"] else ""
        what = f"{row['benchmark']}: {row['measure']}"
        rows.append(
            [what, row["unit"], _short(row["ours"]), other, row["ratio"], row["details"], *_origin(row)]
        )
    return table(header, rows)


def plain(name: str) -> Callable[[], str]:
    """A table as its csv holds it, without the machine."""

    def make() -> str:
        rows = read_rows(name)
        columns = [column for column in rows[0] if column != "machine"]
        return table(columns, [[row[column] for column in columns] for row in rows])

    return make


def study() -> str:
    """The reference study's models: published, on the random split, on held-out identities."""
    found: dict[str, dict[str, Row]] = {}
    for row in read_rows("study"):
        found.setdefault(row["recipe"], {})[row["split"]] = row
    rows = []
    for name, splits in sorted(found.items(), key=_by_random):
        if name.startswith("frozen-features"):
            continue
        random, apart = (splits.get(split) for split in ("random", "identity"))
        any_row = random or apart
        assert any_row
        rows.append(
            [f"`{name}`", any_row["published"], _bounded(random, "accuracy"), _bounded(apart, "accuracy"),
             apart["folds"] if apart else "", _bounded(apart, "f1_macro"), " ".join(
                row["commit"] for row in (random, apart) if row)]
        )  # fmt: skip
    header = [
        "recipe",
        "published",
        "random split",
        "identity-disjoint",
        "folds",
        "macro-F1 there",
        "commits",
    ]
    return table(header, rows)


def _by_random(item: tuple[str, dict[str, Row]]) -> float:
    return -float(item[1]["random"]["accuracy"]) if "random" in item[1] else 0.0


def ablation() -> str:
    """Further heads and ordinal heads on frozen features, all on the same five folds."""
    rows = [row for row in read_rows("study") if row["recipe"].startswith("frozen-features")]
    return table(
        ["recipe", "accuracy", "balanced accuracy", "macro-F1", "date", "commit"],
        [
            [f"`{row['recipe']}`", *(_bounded(row, m) for m in ("accuracy", "balanced_accuracy", "f1_macro")),
             *_origin(row)]
            for row in rows
        ],
    )  # fmt: skip


def experiments() -> str:
    """Every experiment, with what was expected of it."""
    rows = []
    for i, row in enumerate(read_rows("experiments"), start=1):
        told = f"{row['change']} (`{row['recipe']}`)"
        told += f"<br>*Expected:* {row['predicted']}<br>*Outcome:* {row['outcome']}"
        numbers = (row[key] for key in ("accuracy", "f1_macro", "utkface_accuracy", "years_mae", "commit"))
        rows.append([str(i), told, *numbers])
    return table(["", "change, expectation, outcome", "film", "macro-F1", "UTKFace", "years", "commit"], rows)


def floors() -> str:
    """The layers of the import contract, top to bottom, as import-linter checks them."""
    project = tomllib.loads((RESULTS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return "\n".join(["```text", *(layer.replace("threeages.", "") for layer in layers), "```"])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _origin(row: Row) -> tuple[str, str]:
    return row["date"], row["commit"]


def _bounded(row: Row | None, metric: str, *, bold: bool = False) -> str:
    if row is None or not row[metric]:
        return ""
    low, high = (_number(row, f"{metric}_{end}") for end in ("low", "high"))
    value = _number(row, metric)
    return f"{f'**{value}**' if bold else value}{SPACE}[{low},{SPACE}{high}]"


def _ranged(row: Row, metric: str) -> str:
    return f"{row[metric]}{SPACE}[{row[f'{metric}_95'].replace('-', f',{SPACE}')}]"


def _number(row: Row, column: str) -> str:
    return f"{float(row[column]):.3f}" if row[column] else ""


def _bold(value: float, name: str) -> str:
    return f"**{value:.2f}**" if name == "OLD" else f"{value:.2f}"


def _count(number: str | int) -> str:
    return f"{int(number):,}"


def _short(number: str) -> str:
    value = float(number)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def sources() -> str:
    """The known sources of faces with their terms."""
    from threeages.data.terms import SOURCES

    rows = [[f"`{s.name}`", s.title, s.terms, s.use] for s in SOURCES.values()]
    return table(["source", "what it is", "terms as stated", "use"], rows)


def cross_source() -> str:
    """Metrics on each source held out, by model."""
    names = ("balanced_accuracy", "f1_macro", "ece", "years_mae")
    rows = [
        [row["model"], row["recipe"], row["held_out"], row["n"], *(_bounded(row, name) for name in names)]
        for row in read_rows("cross-source")
        if row["faces"] == "all"
    ]
    header = [
        "trained on",
        "recipe",
        "held out",
        "images",
        "balanced accuracy",
        "macro-F1",
        "ECE",
        "years MAE",
    ]
    return table(header, rows)


def cross_source_peers() -> str:
    """The peers and the shipped model on the same faces of every source."""
    names = ("balanced_accuracy", "f1_macro", "ece", "years_mae", "ahead")
    rows = [
        [row["model"], row["held_out"], row["n"], *(_bounded(row, name) for name in names), row["note"]]
        for row in read_rows("cross-source")
        if row["faces"] == "sample"
    ]
    header = ["model", "source", "images", "balanced accuracy", "macro-F1", "ECE", "years MAE"]
    return table([*header, "threeages ahead by", "note"], rows)


def _between(row: Row | None) -> str:
    return (
        ""
        if row is None
        else _number(row, "value")
        if not row["low"]
        else f"{_number(row, 'value')}{SPACE}[{_number(row, 'low')},{SPACE}{_number(row, 'high')}]"
    )


def leakage() -> str:
    """What the random split of the film faces gives away: of each answer the run on the most images."""
    found: dict[str, dict[str, Row]] = {}
    for row in sorted(read_rows("leakage"), key=lambda row: int(row["images"])):
        kind, _, name = row["measure"].partition(": ")
        if row["set"] == "film" and name and not kind.startswith("estimate"):
            found.setdefault(name, {})[kind] = row
    rows = [
        [name, _count(kinds["accuracy"]["images"]),
         *(_between(kinds.get(kind)) for kind in ("accuracy", "identities apart", "gap")),
         _number(kinds.get("accuracy in sample", {"value": ""}), "value")]
        for name, kinds in found.items()
    ]  # fmt: skip
    return table(["answer", "images", "accuracy", "identities apart", "gap", "in sample"], rows)


def leakage_estimate() -> str:
    """The quality of the estimate of identities from faces, by the similarity from which it speaks."""
    found: dict[str, dict[str, Row]] = {}
    for row in read_rows("leakage"):
        kind, _, name = row["measure"].partition(": ")
        if kind.startswith("estimate at "):
            found.setdefault(kind.removeprefix("estimate at "), {})[name] = row
    names = ("purity", "recall", "false_alarms", "pairs_found", "pairs_false")
    rows = [[limit, _count(rows["purity"]["images"]), *(_percent(rows[name]) for name in names)]
            for limit, rows in found.items()]  # fmt: skip
    header = [
        "similarity",
        "images",
        "purity",
        "recall",
        "false alarms",
        "pairs of one person",
        "other pairs",
    ]
    return table(header, rows)


def _percent(row: Row) -> str:
    return f"{100 * float(row['value']):.3g}%"


def label_review() -> str:
    """Planted errors among the labels that the review shows first."""
    names = ("found", "precision", "recall")
    rows = [
        [row["kind"], row["method"], row["looked_at"], *(row[name] for name in names)]
        for row in read_rows("label-review")
        if row["found"]
    ]
    return table(
        ["a planted error says", "method of cleanlab", "labels looked at", "found", *names[1:]], rows
    )


def label_review_worth() -> str:
    """Metrics of heads trained on labels with errors, reviewed ones and those as published."""
    names = ("accuracy", "balanced_accuracy", "nll")
    rows = [
        [row["kind"], row["step"], *(_bounded(row, name) for name in names)]
        for row in read_rows("label-review")
        if row["accuracy"]
    ]
    return table(["a planted error says", "", "accuracy", "balanced accuracy", "log loss"], rows)


def age_thresholds() -> str:
    """What a limit of age and its challenge age for 5 % do to each source never met, and to UTKFace."""
    found: dict[tuple[str, str, str], dict[tuple[str, str, bool], Row]] = {}
    for row in read_rows("age-thresholds"):
        near = not row["true_years"].endswith("+") and not row["true_years"].startswith("0-")
        kind = (f"{row['chosen_on']} {row['target']}".strip(), row["measure"], near)
        found.setdefault((row["set"], row["source"], row["limit"]), {})[kind] = row
    rows = []
    for (group, source, limit), cells in found.items():
        if limit not in {"18", "21", "25"} or (group, source) == ("unseen", "all"):
            continue
        others = "the other sources 0.05" if group == "unseen" else "the same faces 0.05"
        accepted = cells.get((others, "false_acceptance", True))
        rows.append(
            [source if group == "unseen" else "UTKFace, held-out identities", limit,
             _rate(cells["", "false_acceptance", True]), _rate(cells["", "false_rejection", True]),
             accepted["challenge_age"] if accepted else "", _rate(accepted),
             _rate(cells.get((others, "false_rejection", False)))]
        )  # fmt: skip
    header = ["source", "limit", "accepted, 4 years below", "rejected, 4 years above"]
    return table([*header, "challenge age for 5%", "accepted, 4 years below", "rejected, all above"], rows)


def accepted_years() -> str:
    """The share accepted at 18 by true year."""
    found: dict[str, dict[str, Row]] = {}
    for row in read_rows("age-thresholds"):
        if (row["source"], row["limit"], row["measure"]) == ("all", "18", "accepted"):
            found.setdefault(row["true_years"], {})[row["set"]] = row
    rows = [
        [year, *(_rate(sets.get(name)) for name in ("utkface", "unseen"))] for year, sets in found.items()
    ]
    return table(["true year", "UTKFace, held-out identities", "sources never met"], rows)


def brackets() -> str:
    """Precision and recall of each bracket of ages, and how often the bracket is right."""
    names = {"utkface": "UTKFace, held-out identities", "unseen": "sources never met"}
    rows = [
        [names[row["set"]], row["bracket"], row["n"], _score(row["precision"]), _score(row["recall"]),
         _bounded(row, "accuracy")]
        for row in read_rows("brackets")
    ]  # fmt: skip
    return table(["set", "bracket", "images", "precision", "recall", "right"], rows)


def _score(cell: str) -> str:
    return f"{float(cell):.3f}" if cell else ""


def _rate(row: Row | None) -> str:
    if row is None or not row["rate"]:
        return ""
    value, low, high = (float(row[name]) if row[name] else None for name in ("rate", "low", "high"))
    return f"{value:.3f}" + ("" if low is None else f"{SPACE}[{low:.3f},{SPACE}{high:.3f}]")


TABLES: dict[str, Callable[[], str]] = {
    "age-thresholds": age_thresholds,
    "accepted-years": accepted_years,
    "years-calibration": plain("years-calibration"),
    "brackets": brackets,
    "shipped": shipped,
    "models-identity": models("identity-disjoint, 5 folds"),
    "models-utkface": models("held-out UTKFace"),
    "models-random": models("random"),
    "classes": classes,
    "thresholds": thresholds,
    "conformal": conformal,
    "peers": peers,
    "peers-not-run": peers_not_run,
    "peers-speed": peers_speed,
    "photos": photos,
    "identity-probe": identity_probe,
    "int8": plain("int8"),
    "detection": plain("detection"),
    "sharpness": plain("sharpness"),
    "opencv": plain("opencv"),
    "surroundings": plain("surroundings"),
    "benchmarks": benchmarks,
    "kills": plain("kills"),
    "label-review": label_review,
    "label-review-worth": label_review_worth,
    "monitor": plain("monitor"),
    "cross-source": cross_source,
    "cross-source-peers": cross_source_peers,
    "serve": serve,
    "scale": scale,
    "photo": photo,
    "billion": billion,
    "study": study,
    "ablation": ablation,
    "experiments": experiments,
    "floors": floors,
    "sources": sources,
    "leakage": leakage,
    "leakage-estimate": leakage_estimate,
}
