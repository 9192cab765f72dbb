import pytest
import torch

from threeages.training.config import TrainConfig
from threeages.training.epochs import is_best, next_phase
from threeages.training.frozen import has_bfloat16
from threeages.training.optimizer import choose_memory_format, choose_precision


def test_a_precision_given_is_taken() -> None:
    assert choose_precision("32-true") == "32-true"
    assert choose_precision("bf16-mixed") == "bf16-mixed"


@pytest.mark.parametrize(("able", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bf16_is_taken_only_where_the_processor_computes_in_it(
    able: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": able}, raising=False)
    assert choose_precision("auto") == expected


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "32-true"), ((8, 0), "bf16-mixed")])
def test_a_gpu_that_only_emulates_bf16_computes_in_float32(
    capability: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)  # what torch says of a Turing card
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    assert choose_precision("auto") == expected


def test_convolutions_are_channels_last_but_late_ones_in_float32_on_a_processor() -> None:
    found = {
        (depth, precision, device): choose_memory_format(depth, precision, torch.device(device))
        for depth in (0, 3) for precision in ("32-true", "bf16-mixed") for device in ("cpu", "cuda")
    }  # fmt: skip
    others = {key for key, layout in found.items() if layout != torch.channels_last}
    assert others == {(3, "32-true", "cpu")}


@pytest.mark.parametrize("able", [True, False])
def test_older_and_other_releases_of_torch_say_it_otherwise_or_not_at_all(
    able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: able, raising=False)
    assert has_bfloat16() == able
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert not has_bfloat16()


def test_patience_ends_a_phase_and_the_next_begins() -> None:
    config = TrainConfig(head_epochs=9, epochs=9, patience=2, unfreeze=2)
    head, finetune = config.phases()
    history = [{"phase": "head", "val_accuracy": score} for score in (0.5, 0.6, 0.6)]
    assert next_phase(config, []) == head
    assert next_phase(config, history) == head
    assert next_phase(config, [*history, {"phase": "head", "val_accuracy": 0.59}]) == finetune
    history += [{"phase": "finetune", "val_accuracy": 0.1}] * 9
    impatient = [history[0], *history[1:3], history[2], *history[3:]]
    assert next_phase(config, impatient) is None
    patient = TrainConfig(head_epochs=9, epochs=9, unfreeze=2)
    assert next_phase(patient, history[3:]) == head


def test_the_first_of_equally_good_epochs_is_the_best() -> None:
    history = [{"val_accuracy": 0.5, "val_loss": 1.0}, {"val_accuracy": 0.6, "val_loss": 0.9}]
    assert is_best({"val_accuracy": 0.5, "val_loss": 1.0}, [])
    assert is_best({"val_accuracy": 0.61, "val_loss": 2.0}, history)
    assert is_best({"val_accuracy": 0.6, "val_loss": 0.8}, history)
    assert not is_best({"val_accuracy": 0.6, "val_loss": 0.9}, history)
    assert is_best({"epoch": 2}, [{"epoch": 1}])  # without validation rows the last one
