"""Training and prediction on a GPU:   python benchmarks/gpu.py [--device cuda] [--seconds 460] [--out FILE].

It measures matrix products, the training of both networks in every precision, augmentation, and answers of
ONNX Runtime, each for some seconds, and writes a row after each: what a cut leaves is whole. A part for which
too little time is left is passed over, as is one whose packages are missing; the last lines name them.
`--quick --device cpu` runs all of it in a small size, which tests the script and measures nothing.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, add_row
from gpu_training import (
    AUGMENTED,
    Speed,
    count_operations,
    create_untrained,
    draw_pixels,
    measure_augmented,
    measure_calls,
    measure_frozen,
    measure_products,
    measure_training,
    simplify,
)

from threeages.faces.images import Pixels
from threeages.inference.runtime import OnnxModel, default_model_path
from threeages.machine import list_versions
from threeages.sessions import list_providers
from threeages.studies.recipes import create_recipe
from threeages.training import compiling
from threeages.training.config import TrainConfig

NETWORKS = {"fine-tuned": "the default network, its later half", "reference-cnn": "the four-block CNN"}
BATCHES = (32, 128, 512)
MINUTE = 60.0


@dataclass
class Benchmark:
    """The device, the sizes, where rows go, and what was found so far."""

    device: torch.device
    out: Path
    pixels: Pixels
    ends: float
    quick: bool
    rows: int  # that the minutes of a training are computed for
    rates: dict[str, float] = field(default_factory=dict)  # operations per second by precision
    left_out: list[str] = field(default_factory=list)

    @property
    def part_seconds(self) -> float:
        """How long one number is measured."""
        return 0.01 if self.quick else 3.0

    def fit(self, config: TrainConfig) -> TrainConfig:
        """A recipe, where it is quick with few and small images."""
        return replace(config, input_size=64, batch_size=4) if self.quick else config

    def run(self, title: str, seconds: float, part: Callable[["Benchmark"], None]) -> None:
        """Run a part where `seconds` are left for it; its fault costs no other part its rows."""
        left = self.ends - time.monotonic()
        if left < seconds and not self.quick:
            self.left_out.append(f"{title}: {left:.0f} seconds are left, {seconds:.0f} are needed")
            return
        start = time.monotonic()
        try:
            part(self)
            print(f"{title}: {time.monotonic() - start:.0f} s")
        except Exception as error:  # no memory, no compiler, no package
            self.left_out.append(f"{title}: {type(error).__name__}: {str(error).partition(chr(10))[0]}")

    def add(self, measure: str, unit: str, value: float, details: str, share: float | None = None) -> None:
        """Write a row; `share` is of the device's rate of matrix products."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        shared = "" if share is None else f"{share:.1%} of the measured rate of matrix products; "
        kind = "a test of the script; " if self.quick else ""
        versions = list_versions(("torch",))
        details = f"{kind}{name}; {shared}{details}"
        add_row("gpu", measure, unit, value, details=details, versions=versions, results=self.out)


def main() -> None:
    args = parse_arguments()
    device = torch.device(args.device)
    bench = Benchmark(
        device, args.out, load_pixels(args.pixels, quick=args.quick), time.monotonic() + args.seconds,
        args.quick, args.rows,
    )  # fmt: skip
    if args.quick:
        compiling.BACKEND = "eager"  # traced as ever; the compiler takes minutes
    for title, seconds, part in list_parts(bench):
        bench.run(title, seconds, part)
    print("Left out:\n  " + "\n  ".join(bench.left_out) if bench.left_out else "Nothing was left out.")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cuda", "cpu"), default=found)
    parser.add_argument("--seconds", type=float, default=460, help="no part begins that would end later")
    parser.add_argument("--out", type=Path, default=RESULTS.with_name("gpu.csv"), help="csv to write")
    parser.add_argument("--pixels", type=Path, help="uint8 (n, size, size, 3) as .npy, 64 MiB at most")
    parser.add_argument("--rows", type=int, default=60_000, help="that minutes are computed for")
    parser.add_argument("--quick", action="store_true", help="test the script in a small size")
    return parser.parse_args()


def load_pixels(path: Path | None, *, quick: bool) -> Pixels:
    """The images given, else drawn ones; few of either where it is quick."""
    if path is None:
        return draw_pixels(8 if quick else 1024, 192)
    found: Pixels = np.load(path, mmap_mode="r")
    if found.dtype != np.uint8 or found.ndim != 4 or found.shape[3] != 3 or found.shape[1] != found.shape[2]:
        raise SystemExit(f"{path} holds {found.dtype} {found.shape}; uint8 (n, size, size, 3) is needed.")
    return np.array(found[: 8 if quick else 1024])


def list_parts(bench: Benchmark) -> Iterator[tuple[str, float, Callable[[Benchmark], None]]]:
    """Every part with a title and the seconds that it takes at most on a GPU, the most telling first."""
    yield "matrix products", 20, measure_matrices
    yield "the default recipe", 60, measure_default
    for recipe in NETWORKS:
        for precision in ("bf16-mixed", "32-true"):
            yield f"{recipe} {precision}", 45, _Training(recipe, precision)
    yield "augmentation", 30, measure_augmentation
    yield "answers", 90, measure_answers
    for recipe in reversed(NETWORKS):
        yield f"{recipe} compiled", 120, _Training(recipe, "bf16-mixed", compiled=True)


def measure_matrices(bench: Benchmark) -> None:
    size = 64 if bench.quick else 8192 if bench.device.type == "cuda" else 1024
    for name, dtype, precision in (
        ("float32", torch.float32, "highest"),
        ("TF32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, "highest"),
    ):
        if name == "TF32" and bench.device.type == "cpu":
            continue
        torch.set_float32_matmul_precision(precision)
        rate = measure_products(bench.device, dtype, size, bench.part_seconds)
        bench.rates[name] = rate
        bench.add(f"matrix products in {name}", "TFLOP/s", rate / 1e12, f"{size} x {size}, random values")
    torch.set_float32_matmul_precision("highest")


def measure_default(bench: Benchmark) -> None:
    """The default recipe: the frozen stages once, then the head on their output; its minutes from both."""
    recipe = bench.fit(create_recipe("default"))
    stages = measure_frozen(recipe, bench.pixels, bench.device, bench.part_seconds)
    share = _find_share(bench, stages * count_operations(recipe, learns=False), "32-true")
    bench.add(
        "the default recipe, frozen stages", "images/s", stages, f"float32, {recipe.input_size} px", share
    )
    config = simplify(recipe, "auto")
    head = measure_training(config, bench.pixels, 200 if bench.quick else 200_000)
    bench.add("the default recipe, head", "images/s", head.rate, f"batch {config.batch_size}, second epoch")
    copies, epochs = recipe.augmented_copies, recipe.head_epochs
    seconds = copies * bench.rows / stages + epochs * bench.rows / head.rate
    bench.add(
        "the default recipe, whole training", "minutes", seconds / MINUTE,
        f"computed from both rates: {copies} copies of {bench.rows:,} rows, then {epochs} epochs of as many; "
        "without decoding photos and cropping faces, which the CPU does once",
    )  # fmt: skip


@dataclass(frozen=True)
class _Training:
    """The training of one network in one precision."""

    recipe: str
    precision: str
    compiled: bool = False

    def __call__(self, bench: Benchmark) -> None:
        config = simplify(bench.fit(create_recipe(self.recipe)), self.precision, compiled=self.compiled)
        found = measure_training(config, bench.pixels, self._choose_images(bench, config))
        share = _find_share(bench, found.rate * count_operations(config), self.precision)
        name = f"training {NETWORKS[self.recipe]}, {self.precision}{', compiled' * self.compiled}"
        bench.add(name, "images/s", found.rate, self._describe(config, found), share)

    def _choose_images(self, bench: Benchmark, config: TrainConfig) -> int:
        """Images of an epoch of some seconds, from the speed of a short one."""
        if bench.quick:
            return 16
        probe = measure_training(replace(config, compile=False), bench.pixels, 10 * config.batch_size)
        return min(100_000, int(probe.rate * bench.part_seconds))

    def _describe(self, config: TrainConfig, found: Speed) -> str:
        text = f"recipe {self.recipe}, {config.input_size} px, batch {config.batch_size}, second epoch"
        return text + f"; the first took {found.start:.0f} s longer" * self.compiled


def measure_augmentation(bench: Benchmark) -> None:
    """The augmentation of `threeages distill` as operations on the device, drawing included."""
    rate = measure_augmented(bench.pixels, bench.device, bench.part_seconds)
    size = bench.pixels.shape[1]
    bench.add("augmentation while training", "images/s", rate, f"{size} px, batch {AUGMENTED}, one process")


def _find_share(bench: Benchmark, operations: float, precision: str) -> float | None:
    """The share of the rate of products; float32's convolutions are in TF32 where the device has that."""
    kinds = ("bfloat16",) if precision == "bf16-mixed" else ("TF32", "float32")
    return next((operations / bench.rates[kind] for kind in kinds if kind in bench.rates), None)


def measure_answers(bench: Benchmark) -> None:
    """Faces per second of ONNX Runtime: the shipped model and the same network in floats, on each device."""
    with tempfile.TemporaryDirectory() as folder:
        models = {"int8, as shipped": default_model_path(), "float": export_float(Path(folder))}
        devices = ["cpu", *(["cuda"] if "CUDAExecutionProvider" in list_providers() else [])]
        for device in devices:
            for form, path in models.items():
                measure_model(bench, path, form, device)
        if bench.device.type == "cuda" and "cuda" not in devices:
            bench.left_out.append("answers on CUDA: this build of ONNX Runtime has no CUDA provider")


def measure_model(bench: Benchmark, path: Path, form: str, device: str) -> None:
    model = OnnxModel(path, device=device)
    if model.device != device:
        bench.left_out.append(f"answers on {device}: the provider does not work here")
        return
    size = model.signature.input_size
    for batch in BATCHES[:1] if bench.quick or device == "cpu" else BATCHES:
        pixels = draw_pixels(batch, size)
        rate = batch * measure_calls(lambda: model.predict(pixels), torch.device("cpu"), bench.part_seconds)  # noqa: B023
        bench.add(
            f"answers of ONNX Runtime on {device}, {form}, batch {batch}", "faces/s", rate,
            f"{size} px, pixels in memory, one session",
        )  # fmt: skip


def export_float(folder: Path) -> Path:
    """The default network with random weights, in floats."""
    from threeages.export.to_onnx import export_onnx

    path = folder / "float.onnx"
    export_onnx(create_untrained(create_recipe("default")).eval(), path)
    return path


if __name__ == "__main__":
    main()
