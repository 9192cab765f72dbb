"""The self-test: drawn faces, whose expected records lie in the package, through the whole pipeline."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from threeages.bundled import ASSETS, check_bundled
from threeages.doctor.findings import Finding

FILE = ASSETS / "selftest.json"  # tools/selftest.py writes it
# Between processors and releases of the libraries the sums of int8 are the same, but decoding, detection and
# resampling round differently. Pixels that differ by one and an answer computed in float stay well within
# these; swapped channels are far outside (tests/doctor/test_selftest.py).
PROBABILITY, PIXELS, YEARS = 0.08, 6.0, 5.0


def read_photos() -> list[tuple[str, bytes, dict[str, Any]]]:
    """The photos of the self-test: name, the file's bytes and the record that is expected.

    Raises ModelError where the file in the package is missing or damaged.
    """
    check_bundled(FILE)
    return [
        (photo["name"], base64.b64decode(photo["content"]), photo["record"])
        for photo in json.loads(FILE.read_text(encoding="utf-8"))
    ]


def check_answers() -> Iterator[Finding]:
    """Every photo of the self-test, answered by the shipped model as `threeages predict` answers."""
    from threeages.faces.process import configure_process
    from threeages.inference.predictor import load_predictor

    configure_process()
    photos = read_photos()
    records = [record.to_dict() for record in load_predictor().predict([content for _, content, _ in photos])]
    if len(records) != len(photos):
        found = f"{len(photos)} photos with one face each gave {len(records)} records"
        yield Finding("self-test", "fault", found, ADVICE, {"records": records})
        return
    wrong = [
        f"{name}: {difference}"
        for (name, _, expected), found in zip(photos, records, strict=True)
        for difference in compare_record(found, expected)
    ]
    details = {"wrong": wrong, "probs": [record["probs"] for record in records]}
    if wrong:
        yield Finding("self-test", "fault", "; ".join(wrong), ADVICE, details)
        return
    groups = ", ".join(str(record["age_group"] or record["status"]) for record in records)
    found = f"{len(photos)} photos are answered as expected: {groups}"
    yield Finding("self-test", "ok", found, details=details)


ADVICE = (
    "Do not use the answers of this installation. Install threeages and its libraries again in a fresh "
    "environment; where that does not help, open an issue with this output."
)


def compare_record(found: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    """In words, each way in which a record is not the expected one within the tolerances."""
    for name in ("status", "age_group"):
        if found[name] != expected[name]:
            yield f"{name} is {found[name]}, expected {expected[name]}"
            return
    pairs = {f"probability of {group}": (found["probs"][group], value, PROBABILITY)
             for group, value in (expected["probs"] or {}).items()}  # fmt: skip
    if expected["age"] is not None:
        pairs["age"] = (found["age"], expected["age"], YEARS)
    for corner, (have, want) in enumerate(zip(found["box"] or (), expected["box"] or (), strict=True)):
        pairs[f"side {corner} of the box"] = (have, want, PIXELS)
    for name, (have, want, tolerance) in pairs.items():
        if not abs(have - want) <= tolerance:
            yield f"{name} is {have:g}, expected {want:g}"
