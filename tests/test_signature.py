import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threeages.errors import ModelError
from threeages.signature import Signature

GOOD = Signature("cnn", 128, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), margin=0.2, temperature=1.5)


def test_round_trip_loses_nothing() -> None:
    assert Signature.from_json(GOOD.to_json()) == GOOD
    assert "\n" not in GOOD.to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"class_names": ["OLD", "MIDDLE", "YOUNG"]},
        {"color": "BGR"},
        {"input_size": 0},
        {"input_size": "large"},
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"mean": [0.0]},
        {"std": [255.0, 255.0, 0.0]},
        {"format": 2},
        {"flavour": "a field of a later version"},
    ],
)
def test_wrong_fields_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        Signature.from_json(json.dumps(json.loads(GOOD.to_json()) | change))


@pytest.mark.parametrize("field", ["format", "name", "input_size"])
def test_missing_fields_are_refused(field: str) -> None:
    raw = json.loads(GOOD.to_json())
    del raw[field]
    with pytest.raises(ModelError):
        Signature.from_json(json.dumps(raw))


@given(st.text(max_size=50) | st.sampled_from(["[1]", "3", "null", "{}", '"a"', '{"format": 1}']))
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ModelError):
        Signature.from_json(text)
