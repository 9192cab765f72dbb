"""An exported model on ONNX Runtime, with its signature."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from threeages.errors import ModelError
from threeages.files import atomic_path
from threeages.signature import METADATA_KEY, Signature


class OnnxModel:
    """An exported model with its signature, on the CPU; `threads` is its share of the cores (None: all)."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        if not path.is_file():
            raise ModelError(
                f"There is no model {path}.", hint="Give 'default', an ONNX file or a run folder."
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # idle threads must sleep: spinning takes cores from those that decode
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            metadata = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # onnxruntime raises its own unrelated classes
            raise ModelError(
                f"{path} is not an ONNX model: {error}", hint="Write one: threeages export RUN."
            ) from error
        if METADATA_KEY not in metadata:
            raise ModelError(
                f"{path} carries no threeages signature.", hint="Write one: threeages export RUN."
            )
        self.signature = Signature.from_json(metadata[METADATA_KEY])
        self.has_years = "years" in {output.name for output in self._session.get_outputs()}

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB `(n, size, size, 3)` to probabilities float32 `(n, 3)`."""
        return self.predict_all(pixels)[0]

    def predict_all(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """As `predict`, and the distributions over apparent age `(n, 101)` where the model has them."""
        if not self.has_years:
            return self._session.run(["probs"], {"pixels": pixels})[0], None
        probs, years = self._session.run(["probs", "years"], {"pixels": pixels})
        return probs, years


def default_model_path() -> Path:
    """The model that ships inside the package."""
    return Path(__file__).parents[1] / "assets" / "default.onnx"


def replace_signature(path: Path, signature: Signature) -> None:
    """Give the ONNX file at `path` another signature; its graph stays. Needs the package onnx."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA_KEY: signature.to_json()})
    with atomic_path(path) as part:
        part.write_bytes(model.SerializeToString())
