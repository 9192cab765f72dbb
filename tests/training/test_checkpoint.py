from dataclasses import replace
from pathlib import Path

import pytest
import torch

from threeages.errors import ModelError
from threeages.models.classifier import SIGNATURES, Classifier, create_classifier
from threeages.training.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from threeages.training.state_file import DamagedError, serialize_content


@pytest.fixture(scope="module")
def model() -> Classifier:
    return create_classifier(replace(SIGNATURES["cnn"], input_size=64, temperature=1.5))


def test_a_model_comes_back_with_its_signature_and_state(model: Classifier, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / BEST, model, history=[{"epoch": 1}])
    found, state = load_checkpoint(tmp_path)
    assert found.signature == model.signature
    assert state["history"] == [{"epoch": 1}]
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    torch.testing.assert_close(found.probs(pixels), model.eval().probs(pixels))


def test_a_save_that_fails_leaves_the_old_file(model: Classifier, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / BEST, model)
    before = (tmp_path / BEST).read_bytes()
    with pytest.raises(AttributeError):
        save_checkpoint(tmp_path / BEST, model, state=lambda: None)
    assert (tmp_path / BEST).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [BEST]


def test_what_is_no_checkpoint_is_refused(model: Classifier, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no checkpoint"):
        load_checkpoint(tmp_path)
    (tmp_path / BEST).write_bytes(b"text")
    with pytest.raises(ModelError, match="not a checkpoint of threeages"):
        load_checkpoint(tmp_path)
    (tmp_path / BEST).write_bytes(serialize_content({"another": 1}))
    with pytest.raises(ModelError, match="not a checkpoint of threeages: it lacks a part"):
        load_checkpoint(tmp_path)
    save_checkpoint(tmp_path / BEST, model)
    whole = (tmp_path / BEST).read_bytes()
    (tmp_path / BEST).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedError, match=r"(?s)is damaged.*Copy it again"):
        load_checkpoint(tmp_path)


def test_a_damaged_model_of_a_run_can_be_written_again(model: Classifier, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / LAST, model)
    (tmp_path / BEST).write_bytes(b"")
    with pytest.raises(DamagedError, match="Run the same threeages train command again"):
        load_checkpoint(tmp_path)
