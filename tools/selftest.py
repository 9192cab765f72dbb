"""Write the photos of `threeages doctor`'s self-test and the records that the shipped model gives for them.

    python tools/selftest.py

For each age group it draws faces and keeps the one that the model is surest of, so that no rounding changes
its answer; beside them stand a picture without a face and a file that is cut off. Run it whenever the shipped
model changes. Prints the line for CHECKSUMS in src/threeages/bundled.py.
"""

import base64
import io

import numpy as np
from PIL import Image

from threeages.data.synthetic import draw_face
from threeages.doctor.selftest import FILE
from threeages.faces.images import Pixels
from threeages.files.checksums import checksum
from threeages.files.writing import write_json
from threeages.inference.predictor import Predictor, load_predictor
from threeages.labels import AGE_GROUPS

IDENTITIES, AGES, SIZE, MARGIN = range(40), (14, 18, 22, 35, 40, 45, 60, 75), 176, 32
FORMATS = ("JPEG", "PNG", "JPEG")  # of the photo of each group
KEPT = ("status", "box", "age_group", "probs", "age")  # of a record


def main() -> None:
    """Write the file."""
    predictor = load_predictor(device="cpu")
    contents = dict(zip(FORMATS_BY_NAME, choose_photos(predictor), strict=True))
    contents |= {"no-face.png": encode(np.full((96, 96, 3), 128, np.uint8), "PNG")}
    contents |= {"cut-off.jpg": contents["old.jpg"][: len(contents["old.jpg"]) // 2]}
    photos = []
    for (name, content), record in zip(
        contents.items(), predictor.predict([*contents.values()]), strict=True
    ):
        kept = {key: value for key, value in record.to_dict().items() if key in KEPT}
        photos.append({"name": name, "content": base64.b64encode(content).decode(), "record": kept})
        print(name, len(content), kept)
    write_json(FILE, photos)
    print(f'"{FILE.name}": "{checksum(FILE)}",')


FORMATS_BY_NAME = tuple(
    f"{group.lower()}.{'jpg' if kind == 'JPEG' else 'png'}"
    for group, kind in zip(AGE_GROUPS, FORMATS, strict=True)
)


def choose_photos(predictor: Predictor) -> list[bytes]:
    """The file of the surest drawn face of each age group."""
    drawn = [draw(age, identity) for identity in IDENTITIES for age in AGES]
    records = list(predictor.predict(drawn))
    best: dict[str, tuple[float, Pixels]] = {}
    for pixels, record in zip(drawn, records, strict=True):
        if record.age_group and record.probs:
            second, first = sorted(record.probs.values())[-2:]
            margin = first - second
            if margin > best.get(record.age_group, (0.0,))[0]:
                best[record.age_group] = margin, pixels
    return [encode(best[group][1], kind) for group, kind in zip(AGE_GROUPS, FORMATS, strict=True)]


def draw(age: float, identity: int) -> Pixels:
    """A drawn face with some background around it, as in a photo."""
    face = draw_face(age, identity, np.random.default_rng(identity), size=SIZE)
    return np.pad(face, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge")


def encode(pixels: Pixels, kind: str) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, quality=90)
    return file.getvalue()


if __name__ == "__main__":
    main()
