"""The demo: portraits that ship inside installed packages, a minute of training, a report."""

import os
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from threeages.data.manifest import Manifest, load_manifest
from threeages.data.sources import import_source
from threeages.data.synthetic import write_face_set
from threeages.evaluation.report import write_report
from threeages.faces.yunet import YuNet
from threeages.inference.predictor import Predictor
from threeages.inference.runtime import OnnxModel, default_model_path
from threeages.training.recipes import create_recipe
from threeages.training.run import run_training

# portraits of free use: Grace Hopper (US Navy, public domain), Eileen Collins (NASA, public domain)
PORTRAITS = (
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ("skimage", "data/astronaut.png"),
)
ROWS = 1200  # about a minute of training for two epochs on 2 cores


def run_demo(out: Path, say: Callable[[str], None]) -> None:
    """Write a report folder below `out`; on the data set in THREEAGES_DATA, else on drawn faces."""
    say("1. The default model on two portraits")
    for record in Predictor(OnnxModel(default_model_path()), YuNet()).predict(find_portraits()):
        answer = f"{record.age_group} ({record.confidence:.2f})" if record.confidence else record.message
        say(f"   {Path(record.path).name}: {record.status} {answer}")
    manifest, origin = _faces(out)
    say(f"2. Training the four-block CNN on {len(manifest):,} {origin}, people disjoint, two epochs")
    run = out / f"run-{origin.split()[0]}"
    table = run_training(manifest, replace(create_recipe("reference-cnn"), epochs=2, split="identity"), run)
    assert table is not None
    result = write_report(table, run)
    accuracy, (low, high) = result.metrics["accuracy"], result.intervals["accuracy"]
    say(f"   accuracy on people never seen {accuracy:.3f} (95 % interval {low:.3f} to {high:.3f})")
    say(f"3. Report and pictures: {run / 'report.html'}")


def find_portraits() -> list[Path]:
    """The portraits of the packages that are installed."""
    found = []
    for package, name in PORTRAITS:
        spec = find_spec(package)
        if spec and spec.origin and (path := Path(spec.origin).parent / name).exists():
            found.append(path)
    return found


def _faces(out: Path) -> tuple[Manifest, str]:
    source = Path(os.environ.get("THREEAGES_DATA", "../shared/data")) / "faces-age-detection"
    if not (source / "train.csv").exists():
        return load_manifest(write_face_set(out / "drawn")), "drawn faces"
    path = out / "faces.csv"
    import_source(str(source), out=path, people=source / "train_people.csv")
    manifest = load_manifest(path)
    return manifest.select(range(0, len(manifest), len(manifest) // ROWS)[:ROWS]), "film faces"
