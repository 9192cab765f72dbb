"""What else the parts of a photo could be made of: each way beside the one in use, alone and in turn.

python benchmarks/photo_floors.py [--rounds 200]

A part that runs alone finds its data in the processor's cache: what is in use takes less here than in
benchmarks/photo.py, and is the floor of its part. Times are the lowest of their rounds. The detector in int8
is quantized here, for its time only.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from common import add_row, make_photo
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from threeages.faces.images import load_image, shrink_image
from threeages.faces.process import configure_process
from threeages.faces.yunet import OUTPUTS, QUICK_SIDE, YUNET_PATH, create_blob
from threeages.inference.runtime import OnnxModel, default_model_path
from threeages.sessions import create_session

RESULTS = Path(__file__).resolve().parents[1] / "results" / "scale.csv"
Step = Callable[[], Any]
Blob = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS, help="csv to write")
    args = parser.parse_args()
    configure_process()
    with tempfile.TemporaryDirectory() as name:
        for measure, used, other_name, other in _list_ways(Path(name)):
            ours, seconds = _time(used, other, args.rounds)
            add_row(
                "photo, part alone", measure, "ms", 1e3 * ours, other=(other_name, 1e3 * seconds),
                ratio=ours / seconds, details=f"JPEG of 640x480, lowest of {args.rounds} rounds in turn",
                results=args.out,
            )  # fmt: skip


def _list_ways(folder: Path) -> Iterator[tuple[str, Step, str, Step]]:
    """The part, the way in use, the name of another way, and that way."""
    photo = make_photo(0)
    data, blob = np.frombuffer(photo, np.uint8), create_blob(shrink_image(load_image(photo), QUICK_SIDE))
    pixels = load_image(photo)
    for name, flags in (("OpenCV", cv2.IMREAD_COLOR_RGB), ("half the size", cv2.IMREAD_REDUCED_COLOR_2)):
        yield f"decoding, beside {name}", lambda: load_image(photo), name, _partial(cv2.imdecode, data, flags)
    one = create_session(YUNET_PATH, threads=1, memory_pattern=False)
    detector = _partial(one.run, OUTPUTS, {"input": blob})
    ways = {
        "int8": create_session(_quantize(folder, blob), threads=1, memory_pattern=False),
        "two threads": create_session(YUNET_PATH, threads=2, memory_pattern=False),
    }
    for name, session in ways.items():
        yield (
            f"detection, network, beside {name}",
            detector,
            name,
            _partial(session.run, OUTPUTS, {"input": blob}),
        )
    model, wide = (OnnxModel(default_model_path(), threads=n) for n in (1, 2))
    size = model.signature.input_size
    crop = np.ascontiguousarray(pixels[None, :size, :size])
    name = "two threads"
    yield (
        f"answer, network, beside {name}",
        _partial(model.predict_all, crop),
        name,
        _partial(wide.predict_all, crop),
    )


def _partial(function: Callable[..., Any], *args: Any) -> Step:
    return lambda: function(*args)


class _One(CalibrationDataReader):  # type: ignore[misc]
    """One input to calibrate with."""

    def __init__(self, blob: Blob) -> None:
        self._inputs = iter([{"input": blob}])

    def get_next(self) -> Any:
        return next(self._inputs, None)


def _quantize(folder: Path, blob: Blob) -> Path:
    """The detector with its layers in int8, as ONNX Runtime quantizes for processors."""
    raised, path = folder / "raised.onnx", folder / "int8.onnx"
    onnx.save(onnx.version_converter.convert_version(onnx.load(YUNET_PATH), 13), raised)
    quantize_static(
        raised, path, _One(blob), per_channel=True, activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8, op_types_to_quantize=["Conv", "MaxPool", "Resize", "Add", "Relu"],
    )  # fmt: skip
    return path


def _time(used: Step, other: Step, rounds: int) -> tuple[float, float]:
    """Lowest seconds of both, measured in turn."""
    lowest = [float("inf")] * 2
    for _ in range(rounds):
        for i, step in enumerate((used, other)):
            start = time.perf_counter()
            step()
            lowest[i] = min(lowest[i], time.perf_counter() - start)
    return lowest[0], lowest[1]


if __name__ == "__main__":
    main()
