"""Adapter of a classifier of age brackets from a hub repository, such as nateraw/vit-age-classifier.

    pip install torch transformers pillow

--files is the folder: config.json, whose id2label names brackets such as 20-29 or 'more than 70',
preprocessor_config.json and the weights. It has no detector and takes every image whole.
"""

import os
import re
from pathlib import Path

from adapter import LAST, Answer, Predict, load_package, mean_years, run, share_out

NEEDED = ("config.json", "preprocessor_config.json")
INSTALL = "pip install torch transformers pillow"


def load(files: Path) -> Predict:
    os.environ["HF_HUB_OFFLINE"] = "1"
    image_module, torch = load_package("PIL.Image", INSTALL), load_package("torch", INSTALL)
    transformers = load_package("transformers", INSTALL)
    model = transformers.AutoModelForImageClassification.from_pretrained(
        str(files), local_files_only=True
    ).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(str(files), local_files_only=True)
    brackets = [parse_bracket(model.config.id2label[i]) for i in range(len(model.config.id2label))]

    def predict(path: str) -> Answer:
        with image_module.open(path) as opened:
            inputs = processor(opened.convert("RGB"), return_tensors="pt")
        with torch.no_grad():
            shares = model(**inputs).logits[0].softmax(dim=0).tolist()
        return Answer(mean_years(brackets, shares), found=None, probs=share_out(brackets, shares))

    return predict


def parse_bracket(name: str) -> tuple[int, int]:
    """First and last year of a bracket by its name; one that is open ends at LAST."""
    years = [int(number) for number in re.findall(r"\d+", name)]
    if len(years) == 2 and years[0] <= years[1] <= LAST:
        return years[0], years[1]
    if len(years) == 1 and years[0] <= LAST:
        return (years[0], LAST) if re.search(r"more|over|\+|older", name) else (years[0], years[0])
    raise SystemExit(f"The class {name!r} names no bracket of years, such as 20-29 or 'more than 70'.")


if __name__ == "__main__":
    run(load, NEEDED)
