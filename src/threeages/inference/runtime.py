"""Exported models on ONNX Runtime, with their signatures."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threeages.bundled import ASSETS, check_bundled
from threeages.errors import ModelError, ThreeAgesError, describe_cause
from threeages.faces.images import Pixels
from threeages.files.writing import write_bytes
from threeages.inference.model_checksum import HINT, add_checksum, check_model
from threeages.sessions import create_session, session_batch, session_device
from threeages.signature import DIGESTS_KEY, METADATA_KEY, Signature


class OnnxModel:
    """An exported model with its signature, on the CPU or another device; threads may share it.

    A copy, and one in another process, loads the file again. `threads` is the number of threads inside one
    run; None takes all cores. `device` is as for `sessions.create_session`; the attribute of that name is the
    one in use, and `batch` is how many faces are best run at once there. Raises
    ModelError where the file is missing, damaged, is not ONNX or carries no signature of this package, and
    ConfigError for an unknown device.
    """

    def __init__(self, path: Path, *, threads: int | None = None, device: str = "cpu") -> None:
        checked = check_bundled(path.absolute())
        if not path.is_file():
            raise ModelError(
                f"There is no model {path}.", hint="Give 'default', 'large', an ONNX file or a run folder."
            )
        try:
            # idle threads must sleep: spinning takes cores from the threads that decode images
            self._open = partial(
                create_session, path.absolute(), device=device, threads=threads, spinning=False
            )
            self._session = self._open()
            metadata = self._session.get_modelmeta().custom_metadata_map
        except ThreeAgesError:
            raise
        except Exception as error:  # onnxruntime raises its own unrelated classes
            raise ModelError(
                f"{path} is no ONNX model, or a damaged one: {describe_cause(error)}.", hint=HINT
            ) from error
        if METADATA_KEY not in metadata:
            raise ModelError(f"{path} carries no threeages signature.", hint=HINT)
        if not checked:
            check_model(path)
        try:
            self.signature = Signature.from_json(metadata[METADATA_KEY])
        except ModelError as error:
            raise ModelError(f"{path}: {error.message}", hint=error.hint or HINT) from error
        self.device = session_device(self._session)
        self.batch = session_batch(self._session)
        self.has_years = "years" in {output.name for output in self._session.get_outputs()}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._session = self._open()

    def predict(self, pixels: Pixels) -> NDArray[np.float32]:
        """Probabilities `(n, 3)` of the age groups for face crops, uint8 RGB `(n, size, size, 3)`."""
        return self.predict_all(pixels)[0]

    def read_train_digests(self) -> str | None:
        """The digests of what the model was trained on, as its file carries them; None without any."""
        metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return metadata.get(DIGESTS_KEY)

    def predict_all(self, pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Every output for face crops, uint8 RGB `(n, size, size, 3)`.

        Probabilities `(n, 3)` of the age groups, and distributions `(n, 101)` over the apparent ages 0 to
        100, or None for a model without that output.
        """
        if not self.has_years:
            return self._session.run(["probs"], {"pixels": pixels})[0], None
        probs, years = self._session.run(["probs", "years"], {"pixels": pixels})
        return probs, years


def default_model_path() -> Path:
    """The model that ships inside the package."""
    return ASSETS / "default.onnx"


def replace_signature(path: Path, signature: Signature) -> None:
    """Give the ONNX file at `path` another signature; its graph and its digests of train images stay.

    Needs the package onnx.
    """
    import onnx

    model = onnx.load(path)
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key == DIGESTS_KEY}
    onnx.helper.set_model_props(model, {METADATA_KEY: signature.to_json(), **kept})
    write_bytes(path, add_checksum(model.SerializeToString()))
