from pathlib import Path

import pytest
import torch

from threeages.training.loop import choose_precision, write_history


def test_a_precision_asked_for_is_taken() -> None:
    assert choose_precision("32-true") == "32-true"
    assert choose_precision("bf16-mixed") == "bf16-mixed"


@pytest.mark.parametrize(("able", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bf16_is_taken_only_where_the_processor_computes_in_it(
    able: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: able)
    assert choose_precision("auto") == expected


def test_the_history_is_a_csv_row_an_epoch(tmp_path: Path) -> None:
    write_history([{"epoch": 1, "val_accuracy": 0.5}, {"epoch": 2, "val_accuracy": 0.6}], tmp_path / "m.csv")
    assert (tmp_path / "m.csv").read_text().split() == ["epoch,val_accuracy", "1,0.5", "2,0.6"]
