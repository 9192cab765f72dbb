"""Build the shipped model from the raw files: weights, thresholds and card.

    python tools/release.py --films FILMS --utkface UTKFACE --portraits PORTRAITS --out runs/release
    python tools/release.py --fast --out runs/fast     # a tiny run on drawn faces, to check every step

FILMS is the folder of faces-age-detection with train_people.csv, UTKFACE that of UTKFace, PORTRAITS one with
portraits.csv (docs/data.md). Every command is printed before it runs. A stopped release resumes by the same
command: a finished step is not repeated unless a file that it read has changed since.

1. The sets are imported and merged.
2. For each source a model is trained on all others; so is one for each identity-disjoint fold.
3. The temperature is fitted on the answers to sources never met, each weighing the same.
4. All these models are exported in int8 with that temperature, and predict their test rows.
5. The folds' predictions are evaluated together, for film faces and UTKFace: the numbers of the card.
6. The network is trained on all rows, and exported in int8 with the same temperature.
7. Thresholds are fitted on the predictions for sources never met, and stored in the model; the card is
   written.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from threeages.data.manifest import load_manifest
from threeages.data.synthetic import write_face_set
from threeages.evaluation.metrics import nll
from threeages.evaluation.predictions import PredictionTable, load_predictions
from threeages.evaluation.unseen import HELD_OUT
from threeages.files.atomic import atomic_path
from threeages.files.checksums import checksum
from threeages.files.writing import write_json
from threeages.training.checkpoint import BEST, load_checkpoint
from threeages.training.recipes import create_recipe
from threeages.training.temperature import TEMPERATURES

TOOLS = Path(__file__).parent
THREEAGES = (sys.executable, "-m", "threeages")
SETS = {"film": "faces", "utkface": "utkface"}  # name in the card, and value of the column `source`
PARLIAMENTS = ("us-congress", "uk-parliament", "fr-parliament")  # held out as one: hardly anyone is YOUNG
FAST: dict[str, Any] = {"head_epochs": 2, "augmented_copies": 1, "input_size": 64}
FAST_IDENTITIES = 105  # a fifth of them is the fewest that thresholds are measured on


@dataclass(frozen=True)
class Release:
    """Where everything lies: raw sets, the recipe, the folder of the release, and its size."""

    films: Path
    utkface: Path
    portraits: Path | None
    out: Path
    folds: int
    recipe: str = "default"
    fast: bool = False

    @property
    def manifest(self) -> Path:
        """The merged rows of all sets."""
        return self.out / "all.csv"

    @property
    def sources(self) -> Path:
        """The study that holds a run for each source never met."""
        return self.out / "sources"

    @property
    def unseen(self) -> Path:
        """The predictions for sources never met."""
        return self.out / "unseen" / "predictions.csv"

    @property
    def model(self) -> Path:
        """The file to ship."""
        return self.out / "default.onnx"


@dataclass(frozen=True)
class Step:
    """A command by a name that is unique in the release."""

    name: str
    command: tuple[str, ...]


def main() -> None:
    """Run the steps that are missing."""
    release = _parse()
    for step in list_steps(release):
        run_step(step, release.out / "done")
    print(f"The model lies at {release.model}, its card at {release.model.with_suffix('.md')}.")


def list_steps(release: Release) -> Iterator[Step]:
    """The steps in order; those that need the temperature are made once the models are trained."""
    yield from _prepare(release)
    yield _hold_out_sources(release)
    folds = [str(fold) for fold in range(release.folds)]
    for fold in folds:
        yield _train(release, f"fold-{fold}", ("--fold", fold))
    unseen = sorted(path.parent for path in release.sources.glob("all/*/predictions.csv"))
    temperature = fit_temperature(unseen)
    for fold in folds:
        yield _export_run(release, f"fold-{fold}", release.out / f"fold-{fold}", temperature)
    for run in unseen:
        yield _export_run(release, f"without-{run.name}", run, temperature)
    for name, source in SETS.items():
        yield _evaluate(release, name, [f"fold-{fold}" for fold in folds], ("--only", f"source={source}"))
    yield _evaluate(release, "unseen", [f"without-{run.name}" for run in unseen])
    yield _train(release, "all", ("--split", "none"))
    yield from _finish(release, temperature)


def run_step(step: Step, done: Path) -> None:
    """Run a step unless the folder `done` says that it is done, see `is_done`; stops where it fails."""
    stamp = done / step.name
    if is_done(step, stamp):
        print(f"# {step.name} is done", flush=True)
        return
    text = shlex.join(step.command)
    shown = text.replace(shlex.join(THREEAGES), "threeages").replace(sys.executable, "python")
    print(f"$ {shown}", flush=True)
    if code := subprocess.run(step.command, check=False).returncode:
        raise SystemExit(f"{step.name} failed with exit code {code}. The same command resumes.")
    with atomic_path(stamp, durable=True) as part:
        part.write_text(describe_step(step), encoding="utf-8")


def is_done(step: Step, stamp: Path) -> bool:
    """Whether this very command was done on files of this very content, and what it made is still there."""
    names = iter(step.command)
    out = next((Path(next(names)) for name in names if name == "--out"), None)
    if out is not None and not out.exists():
        return False
    return stamp.exists() and stamp.read_text(encoding="utf-8") == describe_step(step)


def describe_step(step: Step) -> str:
    """The command, and the checksums of the files and checkpoints that it names, but for what it makes.

    They are those behind the step, as `thresholds` writes into the model that it reads.
    """
    words = [word for i, word in enumerate(step.command) if step.command[i - 1] != "--out"]
    paths = [Path(word.split("=", 1)[-1]) for word in words[1:]]
    files = [path / BEST if path.is_dir() else path for path in paths]
    inputs = [f"{checksum(file)} {file}" for file in files if file.is_file()]
    return "\n".join((shlex.join(step.command), *inputs))


def fit_temperature(runs: Sequence[Path]) -> float:
    """The temperature of the least log loss over what several runs answered, each run weighing the same.

    An answer is taken back to logits by the temperature of its own run.
    """
    tables = [load_predictions(run / "predictions.csv") for run in runs]
    scored = [table.take(np.flatnonzero(table.scored())) for table in tables]
    own = [load_checkpoint(run)[0].signature.temperature for run in runs]

    def loss(temperature: float) -> float:
        answers = (rescale(table, before / temperature) for table, before in zip(scored, own, strict=True))
        return float(np.mean([nll(table.labels, table.probs) for table in answers]))

    return float(min(TEMPERATURES.tolist(), key=loss))


def rescale(table: PredictionTable, power: float) -> PredictionTable:
    """The answers of a temperature as many times lower as `power` is above 1."""
    powers = np.clip(table.probs, 1e-12, None) ** power
    probs = powers / powers.sum(axis=1, keepdims=True)
    return replace(table, probs=probs, confidence=probs.max(axis=1))


def _prepare(release: Release) -> Iterator[Step]:
    """Import and merge the sets."""
    people = release.films / "train_people.csv"
    options = {
        "film": ("--identities", str(people)) if people.exists() else (),
        "utkface": ("--children",),
        "portraits": ("--children",),
    }
    folders = {"film": release.films, "utkface": release.utkface, "portraits": release.portraits}
    # a csv without a source column is the source that its file name says
    files = {
        name: str(release.out / f"{SETS.get(name, name)}.csv") for name, folder in folders.items() if folder
    }
    for name, file in files.items():
        yield _threeages(
            f"import-{name}", "data", "import", str(folders[name]), *options[name], "--out", file
        )
    yield _threeages("merge", "data", "merge", *files.values(), "--out", str(release.manifest))


def _hold_out_sources(release: Release) -> Step:
    """Train without each source in turn: a study with a run for each."""
    join = ("--join", f"parliaments={','.join(PARLIAMENTS)}") if release.portraits else ()
    options = ("--recipe", release.recipe, *join, "--out", str(release.sources))
    return _threeages("cross-source", "cross-source", str(release.manifest), *options)


def _train(release: Release, name: str, rows: tuple[str, ...]) -> Step:
    """Train on some rows: a run folder of that name."""
    options = ("--recipe", release.recipe, "--out", str(release.out / name))
    return _threeages(f"train-{name}", "train", str(release.manifest), *rows, *options)


def _export_run(release: Release, name: str, run: Path, temperature: float) -> Step:
    script = (sys.executable, str(TOOLS / "int8_run.py"), str(release.manifest), str(run))
    options = ("--temperature", f"{temperature:.3f}", "--out", str(release.out / "int8" / name))
    return Step(f"int8-{name}", (*script, *options))


def _evaluate(release: Release, name: str, runs: Sequence[str], only: tuple[str, ...] = ()) -> Step:
    """Evaluate the int8 predictions of several runs together."""
    predictions = [str(release.out / "int8" / run / "predictions.csv") for run in runs]
    return _threeages(f"evaluate-{name}", "evaluate", *predictions, *only, "--out", str(release.out / name))


def _finish(release: Release, temperature: float) -> Iterator[Step]:
    """Export the model of all rows, store its thresholds, write its card."""
    model = str(release.model)
    # an int8 form of the tiny run, which has learnt next to nothing, would not pass the gate
    int8 = () if release.fast else ("--int8", str(release.manifest))
    # names of known persons could be guessed from digests of them
    export = ("--out", model, *int8, "--temperature", f"{temperature:.3f}", "--digests", "images")
    yield _threeages("export", "export", str(release.out / "all"), *export)
    thresholds = ("--by", HELD_OUT, "--model", model, "--out", str(release.out / "thresholds.json"))
    yield _threeages("thresholds", "thresholds", str(release.unseen), *thresholds)
    root = load_manifest(release.manifest, need_label=False).root
    predictions = {name: release.out / name / "predictions.csv" for name in SETS}
    sets = [part for name, path in predictions.items() for part in ("--set", f"{name}={path}")]
    roots = [part for name in predictions for part in ("--root", f"{name}={root}")]
    trained = ("--unseen", str(release.unseen), "--run", str(release.out / "all"))
    out = ("--model", model, "--out", str(release.model.with_suffix(".md")))
    yield _threeages("card", "card", *sets, *roots, *trained, *out)


def _threeages(name: str, *arguments: str) -> Step:
    return Step(name, (*THREEAGES, *arguments))


def _parse() -> Release:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=Path, help="folder of faces-age-detection")
    parser.add_argument("--utkface", type=Path, help="folder of UTKFace")
    parser.add_argument("--portraits", type=Path, help="folder with portraits.csv, of several sources")
    parser.add_argument("--out", type=Path, required=True, help="folder of everything that is made")
    parser.add_argument("--folds", type=int, choices=range(1, 6), help="how many of the five (default: all)")
    parser.add_argument("--fast", action="store_true", help="a tiny run on drawn faces")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    if args.fast:
        films, utkface = (_draw(out / name, seed) for seed, name in enumerate(SETS))
        recipe = out / "fast.json"
        write_json(recipe, replace(create_recipe("default"), **FAST).to_dict())
        return Release(films, utkface, None, out, args.folds or 1, str(recipe), fast=True)
    if not (args.films and args.utkface and args.portraits):
        parser.error("--films, --utkface and --portraits are needed, or --fast")
    return Release(args.films, args.utkface, args.portraits, out, args.folds or 5)


def _draw(folder: Path, seed: int) -> Path:
    """The manifest of a drawn set, a csv that `data import` reads."""
    drawn = folder.with_name(f"drawn-{folder.name}")
    return write_face_set(drawn, identities=FAST_IDENTITIES, per_identity=3, seed=seed)


if __name__ == "__main__":
    main()
