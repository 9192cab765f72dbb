"""The scripts in tools/ on files small enough to be made here."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file
from torch import nn

from threeages.models.classifier import create_classifier
from threeages.models.mobilenet_v1 import mobilenet_layers
from threeages.models.registry import create_signature
from threeages.models.weights import load_pretrained

TOOLS = Path(__file__).parents[1] / "tools"


def test_face_weights_of_a_graph_are_the_networks_own(tmp_path: Path) -> None:
    """Weights written as the public package holds them come back, and the model takes the file."""
    torch.manual_seed(0)
    layers = nn.Sequential(*mobilenet_layers()).half().float()
    _write_graph(layers, tmp_path / "graph.json")
    target = tmp_path / "weights.safetensors"
    command = [sys.executable, str(TOOLS / "face_weights.py"), str(tmp_path / "graph.json"), str(target)]
    subprocess.run(command, check=True)

    found = load_file(target)
    own = {f"features.{name}": value.numpy() for name, value in layers.state_dict().items()}
    assert found.keys() == own.keys()
    for name, value in own.items():
        np.testing.assert_allclose(found[name].astype(np.float32), value, rtol=2e-3, atol=1e-6)
    load_pretrained(create_classifier(create_signature("mobilenet_v1_face", 64)), str(target))


def test_clip_weights_are_the_layers_of_the_8_bit_graph(tmp_path: Path) -> None:
    """A layer quantized as the public package's comes back within half a step, under its usual name."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(6, 4)).astype(np.float32)
    scale = np.abs(weight).max(axis=1) / 127
    name = "vision_model.encoder.layers.0.self_attn.q_proj"
    held = {
        f"{name}.bias": np.ones(6, np.float32),
        "w_quantized": np.round(weight / scale[:, None]).astype(np.int8).T,
        "w_zero_point": np.zeros(6, np.int8),
        "w_scale": scale,
    }
    node = helper.make_node("MatMulInteger", ["x", "w_quantized"], ["y"])
    node.name = "/vision_model/encoder/layers.0/self_attn/q_proj/MatMul_quant"
    x, y = (
        helper.make_tensor_value_info(n, kind, [None, None])
        for n, kind in (("x", TensorProto.UINT8), ("y", TensorProto.INT32))
    )
    tensors = [numpy_helper.from_array(array, key) for key, array in held.items()]
    onnx.save(helper.make_model(helper.make_graph([node], "clip", [x], [y], tensors)), tmp_path / "clip.onnx")
    target = tmp_path / "weights.safetensors"
    command = [sys.executable, str(TOOLS / "clip_weights.py"), str(tmp_path / "clip.onnx"), str(target)]
    subprocess.run(command, check=True)

    found = load_file(target)
    assert found.keys() == {f"{name}.weight", f"{name}.bias"}
    assert np.abs(found[f"{name}.weight"] - weight).max() <= 0.51 * scale.max()


def _write_graph(layers: nn.Sequential, path: Path) -> None:
    """As TensorFlow.js does: channels last, the depthwise factor apart, some arrays in half precision."""
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    arrays: dict[str, np.ndarray] = {}
    _add_full(arrays, "conv1", convs[0])
    for block, (depthwise, pointwise) in enumerate(zip(convs[1::2], convs[2::2], strict=True), start=1):
        name = f"conv_dw_{block}"
        factor = np.linspace(0.5, 2, depthwise.out_channels, dtype=np.float32)
        kernels = depthwise.weight.detach().numpy().transpose(2, 3, 0, 1)
        arrays[f"{name}/depthwise_kernel"] = kernels / factor[:, None]
        arrays[f"{name}_bn/batchnorm_1/mul"] = factor
        arrays[f"{name}_bn/batchnorm_1/sub"] = depthwise.bias.detach().numpy()
        _add_full(arrays, f"conv_pw_{block}", pointwise)
    weights, content = [], b""
    for name, array in arrays.items():
        entry = {"name": name, "shape": list(array.shape), "dtype": "float32"}
        halved = name.startswith("conv_pw") and array.ndim == 4
        weights.append(entry | ({"quantization": {"dtype": "float16"}} if halved else {}))
        content += array.astype(np.float16 if halved else np.float32).tobytes()
    (path.parent / "graph.bin").write_bytes(content)
    manifest = [{"paths": ["graph.bin"], "weights": weights}]
    path.write_text(json.dumps({"weightsManifest": manifest}))


def _add_full(arrays: dict[str, np.ndarray], name: str, conv: nn.Conv2d) -> None:
    arrays[f"{name}/convolution/merged_input"] = conv.weight.detach().numpy().transpose(2, 3, 1, 0)
    arrays[f"{name}_bn/batchnorm_1/sub"] = conv.bias.detach().numpy()
