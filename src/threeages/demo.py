"""The demo: portraits that ship inside installed packages, a short training and its report."""

import logging
import os
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from threeages.data.importing.sources import import_source
from threeages.data.manifest import Manifest, load_manifest
from threeages.data.synthetic import write_face_set
from threeages.evaluation.evaluate import Evaluation
from threeages.evaluation.report import write_report
from threeages.inference.predictor import load_predictor
from threeages.inference.records import Record
from threeages.training.config import TrainConfig
from threeages.training.recipes import create_recipe
from threeages.training.run import run_training

logger = logging.getLogger(__name__)

# portraits of free use: Grace Hopper (US Navy, public domain), Eileen Collins (NASA, public domain)
PORTRAITS = (
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ("skimage", "data/astronaut.png"),
)
IDENTITIES, PER_IDENTITY = 200, 6  # of the drawn faces: many identities, as those evaluated are new ones
ROWS = IDENTITIES * PER_IDENTITY  # of either set; half a minute of detection and features on 2 cores


@dataclass(frozen=True)
class DemoRun:
    """What was trained: the faces in words, the metrics on held-out identities, and the run folder."""

    faces: str
    evaluation: Evaluation
    folder: Path

    @property
    def report(self) -> Path:
        """The page with the metrics and pictures."""
        return self.folder / "report.html"


def predict_portraits() -> list[Record]:
    """What the shipped model answers to the portraits."""
    return list(load_predictor().predict(find_portraits()))


def train_on_faces(out: Path, seed: int = 42) -> DemoRun:
    """Train a head on the pretrained network of faces and write its report below `out`.

    The faces are those in the folder THREEAGES_DATA, or drawn ones where it holds none. A fifth of the
    identities is held out and evaluated.
    """
    manifest, faces = _open_faces(out)
    logger.info("Training on %s %s, one fifth of the identities held out", f"{len(manifest):,}", faces)
    run = out / f"run-{faces.split()[0]}"
    table = run_training(manifest, _configure(seed), run, cache_dir=out / "cache")
    assert table is not None  # the split has test rows
    return DemoRun(faces, write_report(table, run), run)


def find_portraits() -> list[Path]:
    """The portraits of the packages that are installed."""
    found = []
    for package, name in PORTRAITS:
        spec = find_spec(package)
        if spec and spec.origin and (path := Path(spec.origin).parent / name).exists():
            found.append(path)
    return found


def _configure(seed: int) -> TrainConfig:
    """The recipe `frozen-features` for a small set: more epochs, smaller batches, no head for years."""
    return replace(
        create_recipe("frozen-features"),
        input_size=128,
        head_epochs=10,
        lr_decay=0.8,
        batch_size=32,
        extra_heads={},
        seed=seed,
    )


def _open_faces(out: Path) -> tuple[Manifest, str]:
    """The rows to train on, and what they are in words."""
    source = Path(os.environ.get("THREEAGES_DATA", "../shared/data")) / "faces-age-detection"
    if not (source / "train.csv").exists():
        drawn = write_face_set(out / "drawn", identities=IDENTITIES, per_identity=PER_IDENTITY)
        return load_manifest(drawn), "drawn faces"
    path = out / "faces.csv"
    import_source(str(source), out=path, identities=source / "train_people.csv")
    manifest = load_manifest(path)
    return manifest.select(range(0, len(manifest), len(manifest) // ROWS)[:ROWS]), "film faces"
