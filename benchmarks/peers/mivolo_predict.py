"""Adapter of MiVOLO v2 from a folder of its hub repository iitolstykh/mivolo_v2, whose terms are its own.

    pip install torch transformers timm mivolo

--files is the folder: config.json, model.safetensors and the Python files beside them, which it runs. The
face is the whole image and there is no body: its detector is another model. It takes crops in the order BGR.
"""

import os
from pathlib import Path

from adapter import Answer, Predict, load_package, run

NEEDED = ("config.json", "model.safetensors", "preprocessor_config.json")
INSTALL = "pip install torch transformers timm mivolo opencv-python-headless"


def load(files: Path) -> Predict:
    os.environ["HF_HUB_OFFLINE"] = "1"
    cv2, torch = load_package("cv2", INSTALL), load_package("torch", INSTALL)
    transformers = load_package("transformers", INSTALL)
    common = {"trust_remote_code": True, "local_files_only": True}
    model = transformers.AutoModelForImageClassification.from_pretrained(str(files), **common).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(str(files), **common)

    def predict(path: str) -> Answer:
        faces, bodies = (
            processor(images=[image])["pixel_values"].to(dtype=model.dtype)
            for image in (cv2.imread(path), None)
        )
        with torch.no_grad():
            output = model(faces_input=faces, body_input=bodies)
        return Answer(float(output.age_output[0].item()), found=None)

    return predict


if __name__ == "__main__":
    run(load, NEEDED)
