"""Temperature scaling: probabilities that hold for identities the model was not trained on."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from threeages.evaluation.metrics import nll
from threeages.labels import UNKNOWN
from threeages.models.classifier import Classifier

TEMPERATURES = np.geomspace(0.5, 3.0, 61)


def fit_temperature(model: Classifier, logits: Tensor, labels: NDArray[np.int64]) -> Classifier:
    """The model with the temperature of the least log loss over the rows whose label is known.

    `logits` `(n, classes)` are those of held-out identities. Guo et al. (2017), On Calibration of Modern
    Neural Networks.
    """
    known = labels != UNKNOWN

    def loss(temperature: float) -> float:
        return nll(labels[known], model.net.head.probs(logits[known], temperature).double().numpy())

    best = min(TEMPERATURES.tolist(), key=loss)
    model.signature = replace(model.signature, temperature=best)
    return model
