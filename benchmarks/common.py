"""What the benchmarks share: faces and photos to work on, medians of two sides, the row each one writes."""

import io
import os
import statistics
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageEnhance

from threeages.data.importing.sources import import_source
from threeages.data.manifest import Manifest, load_manifest
from threeages.data.synthetic import write_face_set
from threeages.demo import find_portraits
from threeages.files.csvfiles import read_csv, replace_rows
from threeages.machine import ONNX_RUNTIME, list_versions
from threeages.studies.results import describe_origin

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks.csv"
CNNS = {"reference-cnn": "four-block CNN", "reference-attention": "channel attention CNN"}  # by recipe
SCALE = RESULTS.with_name("scale.csv")
PER_IDENTITY = 10
HEADER = (
    "benchmark", "measure", "unit", "ours", "other_name", "other", "ratio", "details", "machine", "versions",
    "date", "commit",
)  # fmt: skip


def load_faces(count: int, folder: Path) -> tuple[Manifest, str]:
    """`count` rows and their origin: film faces where THREEAGES_DATA holds them, else drawn faces."""
    source = Path(os.environ.get("THREEAGES_DATA", "../shared/data")) / "faces-age-detection"
    if (source / "train.csv").exists():
        manifest = import_source(str(source), out=folder / "film.csv").manifest
        return manifest.select(range(0, len(manifest), len(manifest) // count)[:count]), "film faces"
    path = write_face_set(folder / "drawn", identities=-(-count // PER_IDENTITY), per_identity=PER_IDENTITY)
    return load_manifest(path).select(range(count)), "drawn faces"


def read_rate(run: Path) -> float:
    """Images a second in the last epoch of a run."""
    return float(read_csv(run / "metrics.csv").rows[-1]["images_per_second"])


def make_photo(i: int) -> bytes:
    """A JPEG of 640x480 with one face; each of the 8 is a little different."""
    with Image.open(find_portraits()[0]) as image:
        whole = image.convert("RGB").resize((640, 750))
    part = whole.crop((0, 10 * i, 640, 10 * i + 480))
    file = io.BytesIO()
    ImageEnhance.Brightness(part).enhance(0.9 + 0.03 * i).save(file, "JPEG", quality=90)
    return file.getvalue()


def alternate(ours: Callable[[], float], other: Callable[[], float], rounds: int) -> tuple[float, float]:
    """Medians of both sides, measured in turn, so that other load on the machine affects both alike."""
    pairs = [(ours(), other()) for _ in range(rounds)]
    for pair in pairs:
        print("  ".join(f"{value:.2f}" for value in pair))
    first, second = zip(*pairs, strict=True)
    return statistics.median(first), statistics.median(second)


def add_row(
    benchmark: str,
    measure: str,
    unit: str,
    ours: float,
    *,
    other: tuple[str, float] | None = None,
    ratio: float | None = None,
    details: str = "",
    versions: dict[str, str] | None = None,
    results: Path = RESULTS,
) -> None:
    """Print a row and write it to the csv of results, in place of the same measure's older row.

    `other` is the name and value that `ours` is compared with. Machine, versions, date and commit are added.
    """
    name, value = other or ("", None)
    packages = list_versions(("threeages", "numpy", *ONNX_RUNTIME, "pillow")) | (versions or {})
    text = " ".join(f"{name} {number}" for name, number in packages.items())
    numbers = (_number(ours), name, _number(value), _number(ratio))
    row = dict(zip(HEADER, (benchmark, measure, unit, *numbers, details), strict=False))
    print("  ".join(cell for cell in row.values() if cell))
    origin = describe_origin() | {"versions": text}
    row |= {column: origin[column] for column in HEADER[len(row) :]}
    replace_rows(results, [row], ("benchmark", "measure"))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
