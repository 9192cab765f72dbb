from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("captum", reason="captum is not installed (extra 'explain')")

from threeages.errors import ConfigError, ModelError
from threeages.training.build import create_model
from threeages.training.checkpoint import BEST, save_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.explain import open_grad_cam

SMALL = TrainConfig(model="cnn", input_size=64)


def test_the_map_is_of_the_answer_of_the_run(tmp_path: Path) -> None:
    model = create_model(SMALL).eval()
    save_checkpoint(tmp_path / BEST, model)
    signature, predict, make_map = open_grad_cam(tmp_path)
    assert signature == model.signature
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    found = make_map(pixels)
    probs = predict(pixels[None])[0]
    assert (found.group, found.prob) == (int(probs.argmax()), pytest.approx(float(probs.max())))
    assert found.values.ndim == 2
    assert found.values.min() >= 0


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run folder") as caught:
        open_grad_cam(tmp_path / "model.onnx")
    assert "--method occlusion" in caught.value.hint
    with pytest.raises(ModelError):
        open_grad_cam(tmp_path)
