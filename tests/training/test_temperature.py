from dataclasses import replace

import numpy as np
import pytest
import torch

from threeages.models.classifier import SIGNATURES, create_classifier
from threeages.training.temperature import TEMPERATURES, fit_temperature


@pytest.mark.parametrize("true", [0.7, 1.0, 2.2])
def test_the_temperature_of_the_labels_is_found(true: float) -> None:
    model = create_classifier(replace(SIGNATURES["cnn"], input_size=64))
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(0, 3, (20_000, 3))).float()
    probs = torch.softmax(logits / true, dim=1).numpy()
    labels = (rng.random((len(probs), 1)) > probs.cumsum(axis=1)[:, :2]).sum(axis=1)
    labels[::7] = -1  # rows without a label do not count
    found = fit_temperature(model, logits, labels).signature.temperature
    assert found == pytest.approx(true, rel=0.05)
    assert found in TEMPERATURES
