"""What lies around a face must not change its answer.

    python benchmarks/surroundings.py runs/default-int8/fold-* --root ../shared/data

Each folder holds the model.onnx and predictions.csv of benchmarks/int8.py. Faces that the fold held out are
asked about as they are, and pasted into photos without a face (scikit-learn's two; their edges are blended
over 6 % of the face), by the way that a photo goes in use. There the cut may show the box with more or less
of a margin (faces.cut), which is what the figures are for. Writes results/surroundings.csv.
"""

import argparse
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from threeages.evaluation.predictions import PredictionTable, load_predictions
from threeages.faces.crop import Face, align_crop
from threeages.faces.detect import find_faces
from threeages.faces.images import Pixels, load_image
from threeages.faces.yunet import YuNet
from threeages.files import write_rows
from threeages.inference.runtime import OnnxModel
from threeages.signature import Signature
from threeages.studies.ensemble import ask

RESULTS = Path(__file__).parents[1] / "results" / "surroundings.csv"
SOURCES = ("faces", "utkface")
SAMPLE = 600  # faces of a fold and source
SIDE, BLENDED = 2.5, 0.06  # of the photo, and of the blended edge, in sides of the face
EVERYTHING = 9.0  # a margin that leaves nothing out
MARGINS = (0.0, 0.03, 0.1, EVERYTHING)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folds", type=Path, nargs="+")
    parser.add_argument("--root", type=Path, required=True)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = []
    for source in SOURCES:
        found = [_ask(fold, args.root, source, rng) for fold in args.folds]
        labels, plain = (np.concatenate([f[i] for f in found]) for i in (0, 1))
        pasted = np.concatenate([f[2] for f in found], axis=1)
        rows.append(_row(source, "none", plain, plain, labels))
        rows += [
            _row(source, f"{margin:g}" if margin < EVERYTHING else "everything", answers, plain, labels)
            for margin, answers in zip(MARGINS, pasted, strict=True)
        ]
        print(*rows[-len(MARGINS) - 1 :], sep="\n")
    write_rows(RESULTS, rows)


Groups = NDArray[np.int64]


def _ask(fold: Path, root: Path, source: str, rng: np.random.Generator) -> tuple[Groups, Groups, Groups]:
    """Labels `(n,)`, answers as it is `(n,)`, and pasted `(margins, n)`, of the faces found in both."""
    table = load_predictions(fold / "predictions.csv")
    model, detector = OnnxModel(fold / "model.onnx"), YuNet()
    labels, cuts = [], []
    for i in _sample(table, source, rng):
        image = load_image(root / table.paths[i])
        photo = _paste(image, rng)
        alone, pasted = (next(iter(find_faces(pixels, detector)), None) for pixels in (image, photo))
        if alone and pasted:
            labels.append(table.labels[i])
            own = model.signature.margin
            looks = [(image, alone, own), *((photo, pasted, margin) for margin in MARGINS)]
            cuts.append([_cut(*look, model.signature) for look in looks])
    answers = [ask(model, np.stack(same), np.arange(len(same))) for same in zip(*cuts, strict=True)]
    groups = np.stack([found["probs"].argmax(axis=1) for found in answers])
    return np.asarray(labels), groups[0], groups[1:]


def _cut(pixels: Pixels, face: Face, margin: float, signature: Signature) -> Pixels:
    return align_crop(pixels, face, signature.input_size, margin=margin, alignment=signature.alignment)


def _sample(table: PredictionTable, source: str, rng: np.random.Generator) -> Groups:
    known = np.flatnonzero((np.asarray(table.columns["source"]) == source) & (table.labels >= 0))
    return rng.choice(known, min(SAMPLE, len(known)), replace=False)


@cache
def _photos() -> list[Pixels]:
    return list(load_sample_images().images)


def _paste(face: Pixels, rng: np.random.Generator) -> Pixels:
    """The face in the middle of a part of a photo."""
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
    return around.round().astype(np.uint8)


def _to_edge(length: int) -> NDArray[np.float64]:
    """Of every pixel of a line, its distance to the nearer end."""
    places = np.arange(length) + 0.5
    return np.minimum(places, length - places)


def _row(source: str, shown: str, answers: Groups, plain: Groups, labels: Groups) -> dict[str, str]:
    return {
        "source": source,
        "surroundings shown": shown,
        "faces": str(len(labels)),
        "accuracy": f"{(answers == labels).mean():.4f}",
        "same answer": f"{(answers == plain).mean():.4f}",
    }


if __name__ == "__main__":
    main()
