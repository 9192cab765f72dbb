"""How much the background around a face changes its answer.

    python -m threeages.studies.background runs/release/int8/* --root DATA

Each folder holds the model.onnx and predictions.csv of one fold, as tools/release.py writes them. Faces that
the fold held out are answered alone, and pasted into photos without a face (scikit-learn's two; their edges
are blended), through the same detection and crop as in use. There the crop shows the detected box with a
margin (`faces.crop.align_crop`) of several sizes. Writes results/surroundings.csv.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from threeages.evaluation.collect import predict_rows
from threeages.evaluation.predictions import PredictionTable, load_predictions
from threeages.faces.crop import Face, align_crop
from threeages.faces.detect import find_faces
from threeages.faces.images import Pixels, load_image
from threeages.faces.yunet import YuNet
from threeages.inference.runtime import OnnxModel
from threeages.signature import Signature
from threeages.studies.results import Row, create_parser, save_rows

SOURCES = ("faces", "utkface")
SAMPLE = 600  # faces of a fold and source
SIDE, BLENDED = 2.5, 0.06  # of the photo, and of the blended edge, in sides of the face
EVERYTHING = 9.0  # a margin that hides nothing
MARGINS = (0.0, 0.03, 0.1, EVERYTHING)
SEED = 0

Groups = NDArray[np.int64]


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer the sampled faces alone and pasted, and write a row for each margin."""
    parser = create_parser(__doc__, Path("results/surroundings.csv"))
    parser.add_argument("folds", type=Path, nargs="+")
    parser.add_argument("--root", type=Path, required=True, help="folder of the predictions' paths")
    args = parser.parse_args(arguments)
    rng = np.random.default_rng(SEED)
    save_rows(args.out, [row for source in SOURCES for row in _measure(source, args.folds, args.root, rng)])


def _measure(source: str, folds: Sequence[Path], root: Path, rng: np.random.Generator) -> list[Row]:
    found = [_predict_fold(fold, root, source, rng) for fold in folds]
    labels, alone = (np.concatenate([f[i] for f in found]) for i in (0, 1))
    pasted = np.concatenate([f[2] for f in found], axis=1)
    rows = [_row(source, "none", alone, alone, labels)]
    for margin, groups in zip(MARGINS, pasted, strict=True):
        rows.append(
            _row(source, f"{margin:g}" if margin < EVERYTHING else "everything", groups, alone, labels)
        )
    return rows


def _predict_fold(
    fold: Path, root: Path, source: str, rng: np.random.Generator
) -> tuple[Groups, Groups, Groups]:
    """Labels `(n,)`, groups alone `(n,)` and pasted `(margins, n)`, of the faces detected both ways."""
    table = load_predictions(fold / "predictions.csv")
    model, detector = OnnxModel(fold / "model.onnx"), YuNet()
    labels, crops = [], []
    for i in _sample(table, source, rng):
        image = load_image(root / table.paths[i])
        photo = paste(image, rng)
        alone, pasted = (next(iter(find_faces(pixels, detector)), None) for pixels in (image, photo))
        if alone and pasted:
            labels.append(table.labels[i])
            margin = model.signature.margin
            looks = [(image, alone, margin), *((photo, pasted, margin) for margin in MARGINS)]
            crops.append([_crop(*look, model.signature) for look in looks])
    outputs = [
        predict_rows(model.predict_all, np.stack(same), np.arange(len(same)))
        for same in zip(*crops, strict=True)
    ]
    groups = np.stack([found["probs"].argmax(axis=1) for found in outputs])
    return np.asarray(labels), groups[0], groups[1:]


def _crop(pixels: Pixels, face: Face, margin: float, signature: Signature) -> Pixels:
    return align_crop(pixels, face, signature.input_size, margin=margin, alignment=signature.alignment)


def _sample(table: PredictionTable, source: str, rng: np.random.Generator) -> Groups:
    """Random rows of the source with a known label."""
    known = np.flatnonzero((np.asarray(table.columns["source"]) == source) & (table.labels >= 0))
    return rng.choice(known, min(SAMPLE, len(known)), replace=False)


@cache
def _photos() -> list[Pixels]:
    return list(load_sample_images().images)


def paste(face: Pixels, rng: np.random.Generator) -> Pixels:
    """uint8 `(side, side, 3)`: the face in the middle of a random part of a photo, its edges blended."""
    photos = _photos()
    photo = photos[rng.integers(len(photos))]
    height, width = face.shape[:2]
    side = round(SIDE * max(height, width))
    part = round(min(photo.shape[:2]) * rng.uniform(0.5, 1))
    top, left = (rng.integers(length - part + 1) for length in photo.shape[:2])
    around = cv2.resize(photo[top : top + part, left : left + part], (side, side)).astype(np.float32)
    y, x = (side - height) // 2, (side - width) // 2
    reach = np.minimum.outer(_to_edge(height), _to_edge(width)) / (BLENDED * max(height, width))
    share = np.clip(reach, 0, 1)[:, :, None]
    inside = around[y : y + height, x : x + width]
    around[y : y + height, x : x + width] = share * face + (1 - share) * inside
    return np.asarray(around.round().astype(np.uint8))


def _to_edge(length: int) -> NDArray[np.float64]:
    """The distance of every pixel of a line to the nearer end."""
    places = np.arange(length) + 0.5
    return np.asarray(np.minimum(places, length - places))


def _row(source: str, shown: str, groups: Groups, alone: Groups, labels: Groups) -> Row:
    return {
        "source": source,
        "surroundings shown": shown,
        "faces": str(len(labels)),
        "accuracy": f"{(groups == labels).mean():.4f}",
        "same answer": f"{(groups == alone).mean():.4f}",
    }


if __name__ == "__main__":
    main()
