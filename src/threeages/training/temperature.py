"""The temperature that makes a model's probabilities honest on people it was not trained on."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from threeages.evaluation.metrics import nll
from threeages.labels import UNKNOWN
from threeages.models.classifier import Classifier

TEMPERATURES = np.geomspace(0.5, 3.0, 61)


def calibrate(model: Classifier, logits: Tensor, labels: NDArray[np.int64]) -> Classifier:
    """The model with the temperature that minimises the log loss of the rows whose label is known.

    Temperature scaling (Guo et al., 2017): `logits` `(n, classes)` are those of people outside training.
    """
    known = labels != UNKNOWN

    def loss(temperature: float) -> float:
        return nll(labels[known], model.net.head.probs(logits[known], temperature).double().numpy())

    best = min(TEMPERATURES.tolist(), key=loss)
    model.signature = replace(model.signature, temperature=best)
    return model
