"""How accuracy falls with blur, and which faces the bound on sharpness refuses.

    threeages judge runs/default-int8/fold-0/predictions.csv --only source=faces --out film
    python benchmarks/sharpness.py --model runs/default-int8/fold-0/model.onnx --root ../shared/data \
        --predictions film/predictions.csv

The predictions must be the model's own on people outside its training. Sharp crops (the sharper half, 80
pixels or more) are blurred by Gaussians given as a share of the longer side. Writes results/sharpness.csv.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.evaluation.predictions import load_predictions
from threeages.faces.images import Pixels, load_image, resize
from threeages.faces.quality import MIN_DETAIL, face_detail
from threeages.files import write_rows
from threeages.inference.runtime import OnnxModel

SAMPLE, SHARP = 3000, 500
BLURS = (0.0, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1)
SOFTEST = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("results/sharpness.csv"))
    args = parser.parse_args()
    table, model = load_predictions(args.predictions), OnnxModel(args.model)
    chosen = np.random.default_rng(0).permutation(len(table))[:SAMPLE]
    images = [load_image(args.root / table.paths[i]) for i in chosen]
    labels = table.labels[chosen]
    right = table.probs[chosen].argmax(axis=1) == labels
    detail = np.asarray([face_detail(image) for image in images])
    softest = detail <= np.quantile(detail, SOFTEST)
    rows = [_row("real, all", right, detail), _row("real, softest 1 %", right[softest], detail[softest])]
    sharp = [i for i, x in enumerate(images) if min(x.shape[:2]) >= 80 and detail[i] > np.median(detail)][
        :SHARP
    ]
    for share in BLURS:
        blurred = [_blur(images[i], share) for i in sharp]
        hits = _answers(model, blurred) == labels[sharp]
        details = np.asarray([face_detail(image) for image in blurred])
        rows.append(_row(f"sharp, blurred by {share:.0%} of the side", hits, details))
    write_rows(args.out, rows)
    for row in rows:
        print(row)


def _row(what: str, right: NDArray[np.bool_], detail: NDArray[np.float64]) -> dict[str, str]:
    return {
        "faces": what,
        "n": str(len(right)),
        "accuracy": f"{right.mean():.3f}",
        "least detail": f"{detail.min():.5f}",
        "median detail": f"{np.median(detail):.5f}",
        "refused": f"{(detail < MIN_DETAIL).mean():.3f}",
    }


def _blur(pixels: Pixels, share: float) -> Pixels:
    sigma = share * max(pixels.shape[:2])
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), dtype=np.uint8) if share else pixels


def _answers(model: OnnxModel, images: list[Pixels]) -> NDArray[np.int64]:
    size = model.signature.input_size
    batches = [images[i : i + 32] for i in range(0, len(images), 32)]
    probs = [model.predict(np.stack([resize(x, size) for x in batch])) for batch in batches]
    return np.asarray(np.concatenate(probs).argmax(axis=1), dtype=np.int64)


if __name__ == "__main__":
    main()
