"""The models that have a name: the default, which this package holds, and the large one, which is fetched.

The package holds the large model's graph, head and signature. Its weights are those of CLIP's image encoder
(ViT-B/16; Radford et al. 2021): `fetch` takes them from the hub or a file, and writes one ONNX file.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from threeages.bundled import ASSETS, check_bundled
from threeages.errors import DataError, ModelError, describe_cause
from threeages.faces.images import Pixels
from threeages.files.atomic import name_part, remove_leftovers
from threeages.files.checksums import checksum, digest_file
from threeages.files.download import download
from threeages.files.writing import write_bytes
from threeages.inference.assemble import assemble
from threeages.inference.model_checksum import add_checksum, check_model
from threeages.inference.runtime import default_model_path
from threeages.sessions import create_session

DEFAULT, LARGE = "default", "large"
NAMES = (DEFAULT, LARGE)
HUB, HUB_VARIABLE = "https://huggingface.co", "HF_ENDPOINT"
REPOSITORY = "openai/clip-vit-base-patch16"
HUB_FILE = f"{REPOSITORY}/resolve/refs%2Fpr%2F10/model.safetensors"  # its main branch has no safetensors
ORIGINAL = "846bf12e84b91c2a65b44833a915241443b39356f1000ac1345c61d7bf8a209e"
ENCODERS = {  # sha256 of the files that hold the image encoder, and what they are
    ORIGINAL: f"model.safetensors of {REPOSITORY}",
    "3494dc5c22511bb79840f55a3580465b697f5bd1e39a008e2985315d0ebebe7c": "of tools/fetch_weights.py clip",
}
FETCH = "threeages models fetch large"
HINT = f"Fetch the file elsewhere and give it: {FETCH} --from FILE"
UPGRADE = "Install another version of onnxruntime, and start the same command again."
# the mean difference of a probability: the files above differ by the rounding of one of them, which moves it
# by a tenth of that; an encoder that was put together wrongly is far outside
TOLERANCE = 0.05


@dataclass(frozen=True)
class LargeModel:
    """The large model: its file in the package, the folder that it is written to, the encoders it takes.

    `asset` is a npz with the `graph`, the `names` of the tensors that it lacks, and uint8 `pixels`
    `(n, size, size, 3)` with the `probs` `(n, 3)` that the whole model answers (tools/large.py writes it).
    """

    asset: Path = ASSETS / "large.npz"
    folder: Path = user_cache_path("threeages") / "models"
    encoders: Mapping[str, str] = field(default_factory=lambda: ENCODERS)

    @property
    def path(self) -> Path:
        """Its ONNX file, there or not; another version of the package may have another one."""
        check_bundled(self.asset)
        return self.folder / f"large-{checksum(self.asset).partition('-')[0]}.onnx"

    def find(self) -> Path:
        """Its ONNX file; raises ModelError where it was not fetched, or is damaged."""
        path = self.path
        if not path.is_file():
            raise ModelError(f"The large model is not fetched: there is no {path}.", hint=f"Run: {FETCH}")
        try:
            check_model(path)
        except ModelError as error:
            raise ModelError(error.message, hint=f"Fetch it again: {FETCH}") from error
        except OSError as error:
            raise ModelError(f"Cannot read {path}: {describe_cause(error)}.", hint=f"Run: {FETCH}") from error
        return path

    def fetch(self, encoder: Path | None = None) -> Path:
        """Write its ONNX file with an encoder's file, else with the one of the hub; its path.

        The address of the hub is HF_ENDPOINT where that is set. Raises DataError where the file cannot be
        had or written, ModelError where it is none of `encoders` or the model does not answer as it should.
        """
        if encoder:
            return self._write(encoder)
        address = f"{(os.environ.get(HUB_VARIABLE) or HUB).rstrip('/')}/{HUB_FILE}"
        part = name_part(self.folder / "encoder.safetensors")  # of this process, as several may fetch
        remove_leftovers(self.folder)
        try:
            download(address, part, hint=HINT)
            return self._write(part)
        finally:
            part.unlink(missing_ok=True)

    def _write(self, encoder: Path) -> Path:
        self._check_encoder(encoder)
        path = self.path
        with np.load(self.asset) as held:
            content = assemble(held["graph"].tobytes(), held["names"].tolist(), encoder)
            _check_answers(content, held["pixels"], held["probs"])
        write_bytes(path, add_checksum(content))
        for old in self.folder.glob("large-*.onnx"):  # of other versions of the package
            if old != path:
                old.unlink(missing_ok=True)
        return path

    def _check_encoder(self, path: Path) -> None:
        try:
            found = digest_file(path)
        except OSError as error:
            raise DataError(f"Cannot read {path}: {describe_cause(error)}.", hint=HINT) from error
        if found not in self.encoders:
            raise ModelError(
                f"{path} is none of the files known to hold CLIP's image encoder: its sha256 is {found}.",
                hint=f"It is damaged or another one. Known are {' and '.join(self.encoders.values())}.",
            )


LARGE_MODEL = LargeModel()


def find_model_file(model: Path | str) -> Path:
    """The file or folder that a name or path stands for; raises ModelError where it is not fetched."""
    if model == DEFAULT:
        return default_model_path()
    return LARGE_MODEL.find() if model == LARGE else Path(model)


def _check_answers(content: bytes, pixels: Pixels, expected: NDArray[np.float32]) -> None:
    """Raise ModelError where an assembled model does not answer as it did when the package was made."""
    try:
        found = create_session(content).run(["probs"], {"pixels": pixels})[0]
    except Exception as error:  # onnxruntime raises its own unrelated classes
        raise ModelError(
            f"The assembled model does not run here: {describe_cause(error)}.", hint=UPGRADE
        ) from error
    difference = float(np.abs(found - expected).mean())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"The assembled model's probabilities differ by {difference:.3f} from those that it should give; "
            f"{TOLERANCE} is allowed.",
            hint=UPGRADE,
        )
