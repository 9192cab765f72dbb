"""What a model was trained on as short digests, which its run and its exported file carry with them."""

import base64
import hashlib
import json
import logging
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threeages.errors import ImageError
from threeages.faces.images import load_image, pixel_digest
from threeages.files.writing import read_checked_json, write_checked_json

logger = logging.getLogger(__name__)

DIGESTS_FILE = "train_digests.json"  # in a run's folder
FORMAT = 1
SALT_BYTES = 16
DIGEST_BYTES = 5  # of 60,000 train images one in 18 million others has the same digest as one of them
IMAGE, IDENTITY = b"image", b"identity"  # so that no name has the digest of an image
UNREADABLE = bytes(16)  # stands for the pixels of an image that cannot be read, and is in no set

Digests = NDArray[np.uint64]  # sorted and distinct


@dataclass(frozen=True)
class TrainDigests:
    """The images and identities of the train rows as salted digests of 40 bits: uint64 `(n,)`, sorted.

    An image counts by its decoded pixels, under any name and in any lossless format; a copy that was
    compressed or resized again is another image here. An identity counts by its name.

    They hold no pixel and no name, and are no secret either: whoever has an image can find out whether it was
    trained on, which is their purpose, and whoever has the file can try names until one is found. Names such
    as `p23`, and those of known persons, are found at once, and no salt prevents that. It does prevent
    comparing what two models were trained on without their images. A model whose persons must not be found
    is exported without identities.
    """

    salt: bytes
    images: Digests
    identities: Digests

    def find_images(self, digests: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Mask `(n,)` of the pixel digests uint8 `(n, 16)` that are those of train images."""
        return np.isin(_digest(self.salt, IMAGE, map(bytes, digests)), self.images)

    def find_identities(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Mask `(n,)` of the names that are those of train identities; an empty name is none."""
        known = np.asarray([bool(name) for name in names], dtype=np.bool_)
        return known & np.isin(_digest(self.salt, IDENTITY, map(str.encode, names)), self.identities)

    def without_identities(self) -> "TrainDigests":
        """The same of the images alone."""
        return TrainDigests(self.salt, self.images, self.identities[:0])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        sides = {"images": _pack(self.images), "identities": _pack(self.identities)}
        return {"format": FORMAT, "salt": self.salt.hex(), **sides}


def create_train_digests(digests: NDArray[np.uint8], names: Sequence[str] | None = None) -> TrainDigests:
    """Of the train rows' pixel digests uint8 `(n, 16)` and the names of their identities, where known.

    The salt is made of the digests, so that the same train images give the same file.
    """
    salt = hashlib.blake2b(np.unique(digests, axis=0).tobytes(), digest_size=SALT_BYTES).digest()
    known = sorted({*(names if names is not None else ())} - {""})
    images = np.unique(_digest(salt, IMAGE, map(bytes, digests)))
    return TrainDigests(salt, images, np.unique(_digest(salt, IDENTITY, map(str.encode, known))))


def parse_train_digests(text: str, place: Path) -> TrainDigests | None:
    """Inverse of `format_train_digests`; None, and a warning in the log with `place`, where it fails."""
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        sides = (_unpack(content[name]) for name in ("images", "identities"))
        return TrainDigests(bytes.fromhex(content["salt"]), *sides)
    except (KeyError, TypeError, ValueError, zlib.error):
        logger.warning("The digests of the train images in %s cannot be read by this version.", place)
        return None


def save_train_digests(digests: TrainDigests, run: Path) -> None:
    """Write them into the folder of a run, unless it holds them; raises DataError where it cannot."""
    if read_checked_json(run / DIGESTS_FILE) != digests.to_dict():
        write_checked_json(run / DIGESTS_FILE, digests.to_dict())


def load_train_digests(run: Path) -> TrainDigests | None:
    """Those of a run's folder; None where it has none, as of an earlier release, or a damaged file."""
    path = run / DIGESTS_FILE
    content = read_checked_json(path)
    if content is None:
        if path.exists():
            logger.warning("%s is damaged: what the run was trained on is not known.", path)
        return None
    return parse_train_digests(json.dumps(content), path)


def format_train_digests(digests: TrainDigests) -> str:
    """One line of JSON, for the metadata of an exported model."""
    return json.dumps(digests.to_dict())


def digest_images(files: Sequence[Path]) -> NDArray[np.uint8]:
    """Pixel digests uint8 `(n, 16)` of images, decoded whole; UNREADABLE where one cannot be read."""
    with ThreadPoolExecutor() as pool:
        found = b"".join(pool.map(_digest_file, files))
    return np.frombuffer(found, dtype=np.uint8).reshape(-1, len(UNREADABLE))


def _digest_file(file: Path) -> bytes:
    try:
        return pixel_digest(load_image(file))
    except ImageError:
        return UNREADABLE


def _digest(salt: bytes, kind: bytes, values: Iterable[bytes]) -> Digests:
    """uint64 `(n,)` of values, in their order."""
    padding = bytes(8 - DIGEST_BYTES)
    found = (hashlib.blake2b(v, digest_size=DIGEST_BYTES, key=salt, person=kind).digest() for v in values)
    return np.frombuffer(b"".join(digest + padding for digest in found), dtype="<u8").astype(np.uint64)


def _pack(values: Digests) -> dict[str, Any]:
    """Sorted digests as text: the steps between them byte by byte, which leaves zlib the high zeros."""
    steps = np.diff(values, prepend=np.uint64(0)).astype("<u8")
    planes = np.ascontiguousarray(steps.view(np.uint8).reshape(-1, 8).T)
    return {"n": len(values), "packed": base64.b85encode(zlib.compress(planes.tobytes(), 9)).decode()}


def _unpack(content: Any) -> Digests:
    planes = np.frombuffer(zlib.decompress(base64.b85decode(content["packed"])), dtype=np.uint8)
    steps = np.ascontiguousarray(planes.reshape(8, int(content["n"])).T).view("<u8").reshape(-1)
    return np.cumsum(steps, dtype=np.uint64)
