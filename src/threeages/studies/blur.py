"""Accuracy under blur, and which faces the sharpness limit rejects.

    python -m threeages.studies.blur --model runs/release/int8/0/model.onnx \\
        --predictions film/predictions.csv --root DATA

The predictions must be the model's own on held-out identities. Sharp crops (the sharper half, 80 pixels or
more) are blurred by Gaussians whose sigma is a share of the longer side. Writes results/sharpness.csv.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.evaluation.predictions import load_predictions
from threeages.faces.images import Pixels, load_image, resize
from threeages.faces.quality import MIN_DETAIL, face_detail
from threeages.inference.runtime import OnnxModel
from threeages.studies.results import Row, create_parser, save_rows

SAMPLE, SHARP = 3000, 500  # faces in all, and of them blurred
MIN_SIDE = 80  # pixels of a crop that is blurred
BLURS = (0.0, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1)
SOFTEST = 0.01
BATCH = 32
SEED = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure accuracy and rejection at every blur and write the rows."""
    parser = create_parser(__doc__, Path("results/sharpness.csv"))
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True, help="folder of the predictions' paths")
    args = parser.parse_args(arguments)
    table, model = load_predictions(args.predictions), OnnxModel(args.model)
    chosen = np.random.default_rng(SEED).permutation(len(table))[:SAMPLE]
    images = [load_image(args.root / table.paths[i]) for i in chosen]
    labels = table.labels[chosen]
    right = table.probs[chosen].argmax(axis=1) == labels
    save_rows(args.out, [*_real_rows(images, right), *_blurred_rows(model, images, labels)])


def _real_rows(images: list[Pixels], right: NDArray[np.bool_]) -> list[Row]:
    """All faces as they are, and the softest of them."""
    detail = _details(images)
    softest = detail <= np.quantile(detail, SOFTEST)
    return [
        _row("real, all", right, detail),
        _row(f"real, softest {SOFTEST:.0%}", right[softest], detail[softest]),
    ]


def _blurred_rows(model: OnnxModel, images: list[Pixels], labels: NDArray[np.int64]) -> list[Row]:
    """The sharp faces at every blur."""
    detail = _details(images)
    large = np.asarray([min(image.shape[:2]) >= MIN_SIDE for image in images])
    sharp = np.flatnonzero(large & (detail > np.median(detail)))[:SHARP]
    rows = []
    for share in BLURS:
        blurred = [_blur(images[i], share) for i in sharp]
        right = _predict_groups(model, blurred) == labels[sharp]
        rows.append(_row(f"sharp, blurred by {share:.0%} of the side", right, _details(blurred)))
    return rows


def _details(images: Sequence[Pixels]) -> NDArray[np.float64]:
    return np.asarray([face_detail(image) for image in images])


def _row(faces: str, right: NDArray[np.bool_], detail: NDArray[np.float64]) -> Row:
    return {
        "faces": faces,
        "n": str(len(right)),
        "accuracy": f"{right.mean():.3f}",
        "least detail": f"{detail.min():.5f}",
        "median detail": f"{np.median(detail):.5f}",
        "refused": f"{(detail < MIN_DETAIL).mean():.3f}",
    }


def _blur(pixels: Pixels, share: float) -> Pixels:
    """The image under a Gaussian whose sigma is this share of its longer side."""
    sigma = share * max(pixels.shape[:2])
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), dtype=np.uint8) if share else pixels


def _predict_groups(model: OnnxModel, images: list[Pixels]) -> NDArray[np.int64]:
    """The predicted age group of every image, taken whole."""
    size = model.signature.input_size
    batches = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    probs = [model.predict(np.stack([resize(x, size) for x in batch])) for batch in batches]
    return np.asarray(np.concatenate(probs).argmax(axis=1), dtype=np.int64)


if __name__ == "__main__":
    main()
