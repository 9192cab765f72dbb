"""What a card says to a program: the metadata of a model card of the Hugging Face Hub, with its metrics."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from threeages.data.columns import SOURCE
from threeages.data.terms import SOURCES, find_terms
from threeages.evaluation.evaluate import Evaluation
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.tables import METRIC_TITLES, format_interval

HELD_OUT_IDENTITIES = "held-out identities"
NEVER_MET = "source never met"
LIBRARY = "threeages"
TASK = {"type": "image-classification", "name": "age group of a face"}
TAGS = ("onnx", "face", "age-group", "age-estimation", "calibration")
METRIC_TYPES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "f1_macro": "f1",
    "ece": "ece",
}
YEARS_METRIC = "mae"
RESTRICTED = {"license": "other", "license_name": "research-only-training-data"}
NOT_KNOWN = {"license": "unknown"}  # whoever trained states the licence


class Measured(NamedTuple):
    """A set of predictions by its name, and what they score."""

    name: str
    table: PredictionTable
    result: Evaluation


def create_metadata(
    name: str, sets: Iterable[Measured], unseen: Iterable[Measured], sources: Iterable[str]
) -> dict[str, Any]:
    """The front matter of the card of the model `name`, for `format_front_matter`.

    The model index has an entry for each of `sets`, which are of held-out identities, and of `unseen`, which
    are of sources that the model never met. `sources` are those of its training data: the licence of the
    weights follows from their terms. Source: modelcard.md of huggingface/hub-docs.
    """
    results = [
        *(_result(one, HELD_OUT_IDENTITIES) for one in sets),
        *(_result(one, NEVER_MET) for one in unseen),
    ]
    types = dict.fromkeys(metric["type"] for result in results for metric in result["metrics"])
    return {
        **choose_license(sources),
        "library_name": LIBRARY,
        "pipeline_tag": TASK["type"],
        "tags": list(TAGS),
        "metrics": list(types),
        "model-index": [{"name": name, "results": results}],
    }


def choose_license(sources: Iterable[str]) -> Mapping[str, str]:
    """`other` where the terms of a source forbid commercial use, else `unknown`: the trainer's to state."""
    restricted = any(find_terms(name).use == "research-only" for name in sources)
    return RESTRICTED if restricted else NOT_KNOWN


def _result(measured: Measured, split: str) -> dict[str, Any]:
    name, table, result = measured
    # programs tell entries apart by type and split, and not by the name
    dataset = {"name": f"{_describe(name, table)} ({split})", "type": name, "split": split}
    return {"task": TASK, "dataset": dataset, "metrics": list(_metrics(result))}


def _describe(name: str, table: PredictionTable) -> str:
    """What the source of a set is, where all rows are of sources that are known; else the set's name."""
    sources = list(dict.fromkeys(table.columns.get(SOURCE, ("",))))
    known = all(source in SOURCES for source in sources)
    return "; ".join(find_terms(source).title for source in sources) if known else name


def _metrics(result: Evaluation) -> Iterator[dict[str, Any]]:
    """Every metric that is defined, as exact as the card's tables, its interval in the name."""
    for metric, kind in METRIC_TYPES.items():
        value, bounds = result.metrics[metric], result.intervals[metric]
        if math.isfinite(value):
            yield _metric(kind, f"{METRIC_TITLES[metric]}{_interval(bounds)}", round(value, 3))
    if result.years:
        yield _metric(YEARS_METRIC, "Mean error in years", round(result.years["mae"], 2))


def _interval(bounds: tuple[float, float]) -> str:
    return f" (95 % interval {format_interval(bounds)})" if math.isfinite(bounds[0]) else ""


def _metric(kind: str, name: str, value: float) -> dict[str, Any]:
    return {"type": kind, "name": name, "value": value}
