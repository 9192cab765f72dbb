"""Fill a model that remembers: the space in which faces of one scene lie close, and the faces in it."""

from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from threeages.data.manifest import Manifest
from threeages.data.split import Rows
from threeages.labels import AGE_GROUPS, UNKNOWN
from threeages.models.classifier import Architecture, Classifier, create_classifier
from threeages.models.heads import MAIN
from threeages.models.memory import Recall
from threeages.training.config import TrainConfig
from threeages.training.loop import TrainingData, open_inputs

SCENE = (
    "person",
    "film",
)  # one person in one film is of one age: its majority answers 98.6 % of the film faces
SHRINKAGE = 0.03  # of the covariance within scenes; 0.1 scores 0.3 points less on the random split
DIMENSIONS = 128  # where no scene is known; 336 score 0.7 points less

Floats = NDArray[np.float64]


def name_scenes(manifest: Manifest) -> NDArray[np.str_]:
    """What a row shows, `(n,)`: person and film as far as the manifest knows them, '' where it does not."""
    columns = [np.asarray(manifest.columns[name]) for name in SCENE if name in manifest.columns]
    if not columns:
        return np.full(len(manifest), "")
    known = np.all([column != "" for column in columns], axis=0)
    joined = ["/".join(cells) for cells in zip(*columns, strict=True)]
    return np.where(known, joined, "")


def memorize(
    model: Classifier, data: TrainingData, rows: Rows, scenes: NDArray[np.str_], config: TrainConfig
) -> Classifier:
    """The model with the labelled rows in its memory.

    Where scenes of several faces are known the space is that of linear discriminants between them, else
    that of whitened principal components.
    """
    inputs = open_inputs(model, data, config.phases()[-1], replace(config, prefix_cache=True))
    rows = np.sort(rows[data.targets[MAIN][rows] != UNKNOWN])  # in order the disk reads faster
    features = np.asarray(inputs.values[rows], dtype=np.float32)
    center, projection = fit_space(features[:, 0], scenes[rows])
    options = {"rows": len(rows), "dimensions": projection.shape[1]}
    full = create_classifier(model.signature, Architecture(model.architecture.heads, options))
    full.net.features.load_state_dict(model.net.features.state_dict())
    neck = cast(Recall, full.net.neck)
    labels = torch.from_numpy(data.targets[MAIN][rows])
    neck.center.copy_(torch.from_numpy(center))
    neck.projection.copy_(torch.from_numpy(projection))
    neck.groups.copy_(torch.nn.functional.one_hot(labels, len(AGE_GROUPS)))
    with torch.inference_mode():
        neck.keys.copy_(neck.embed(torch.from_numpy(features)))
    return full.eval()


def fit_space(features: NDArray[np.float32], scenes: NDArray[np.str_]) -> tuple[Floats, Floats]:
    """Center `(f,)` and projection `(f, d)` of features `(n, f)`; '' names no scene."""
    scaler = StandardScaler()
    scaled = scaler.fit_transform(features)
    _, index, counts = np.unique(scenes, return_inverse=True, return_counts=True)
    several = (counts[index] > 1) & (scenes != "")
    if len(set(scenes[several])) > 1:
        found = LinearDiscriminantAnalysis(solver="eigen", shrinkage=SHRINKAGE)
        found.fit(scaled[several], scenes[several])
        middle, axes = found.priors_ @ found.means_, found.scalings_[:, : len(found.classes_) - 1]
    else:
        n, f = scaled.shape
        pca = PCA(min(DIMENSIONS, n // 2, f), random_state=0).fit(scaled)  # the last of n are rounding
        middle, axes = pca.mean_, (pca.components_ / np.sqrt(pca.explained_variance_)[:, None]).T
    return scaler.mean_ + scaler.scale_ * middle, axes / scaler.scale_[:, None]
