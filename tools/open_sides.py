"""An ONNX file whose image input has fixed sides, with the sides left open; the weights stay as they are.

python tools/open_sides.py face_detection_yunet_2023mar.onnx src/threeages/assets/yunet.onnx
"""

import sys
from pathlib import Path

import onnx


def main() -> None:
    """Read the first file, write the second."""
    source, target = map(Path, sys.argv[1:])
    model = onnx.load(str(source))
    (images,) = model.graph.input
    for side, name in zip(images.type.tensor_type.shape.dim[2:], ("height", "width"), strict=True):
        side.dim_param = name
    del model.graph.value_info[:]  # shapes between the layers, which held for the fixed sides alone
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = f"places of {output.name}"
    onnx.checker.check_model(model)
    target.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main()
