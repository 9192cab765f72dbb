import socket
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from threeages.errors import ConfigError, MissingDependencyError, ModelError
from threeages.models import vit
from threeages.models.classifier import SIGNATURES, Architecture, Classifier, create_classifier
from threeages.models.registry import create_signature, find_model
from threeages.models.weights import (
    ASSETS,
    find_file,
    load_pretrained,
    read_about,
    read_weights,
    save_weights,
)


def _create(name: str) -> Classifier:
    return create_classifier(replace(SIGNATURES[name], input_size=64))


def _publish(model: Classifier, path: Path) -> Path:
    """The features as they are published: torchvision's names, float16, with a classifier."""
    state = {f"features.{k}": v.half().contiguous() for k, v in model.net.features.state_dict().items()}
    save_file({**state, "classifier.1.weight": torch.zeros(1000, 1280)}, path)
    return path


def test_a_file_fills_the_features_and_leaves_the_head(tmp_path: Path) -> None:
    source, model = _create("mobilenet_v2"), _create("mobilenet_v2")
    head = model.net.head.weight.clone()  # type: ignore[union-attr,operator]
    load_pretrained(model, str(_publish(source, tmp_path / "w.safetensors")))
    expected = source.net.features.state_dict()["5.conv.0.0.weight"]
    torch.testing.assert_close(
        model.net.features.state_dict()["5.conv.0.0.weight"], expected, atol=1e-3, rtol=1e-3
    )
    assert torch.equal(model.net.head.weight, head)  # type: ignore[arg-type]


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    file = _publish(_create("mobilenet_v2"), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"(?s)another architecture.*--weights"):
        load_pretrained(_create("resnet50"), str(file))


def test_missing_weights_stop_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"(?s)only as a file.*--weights FILE"):
        load_pretrained(_create("resnet50"), "")
    with pytest.raises(ModelError, match="Cannot load"):
        load_pretrained(_create("resnet50"), str(tmp_path / "none.safetensors"))

    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    with pytest.raises(ModelError, match=r"(?s)no route to host.*--weights"):
        load_pretrained(_create("mobilenet_v2"), "")
    load_pretrained(_create("mobilenet_v2"), "random")


@pytest.mark.parametrize("weights", [None, ""])
def test_the_network_of_faces_comes_with_the_package(
    monkeypatch: pytest.MonkeyPatch, weights: str | None
) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    model = _create("mobilenet_v1_face")
    load_pretrained(model, weights)
    stored = load_file(ASSETS / "mobilenet_v1_face.safetensors")
    last, own = stored["features.66.weight"], model.net.features.state_dict()["63.3.weight"]
    assert stored["features.1.weight"].dtype == torch.float16
    torch.testing.assert_close(own, last.float())


def test_a_model_without_pretrained_weights_takes_none(tmp_path: Path) -> None:
    load_pretrained(_create("cnn"), "")
    with pytest.raises(ModelError, match="from scratch"):
        load_pretrained(_create("cnn"), str(tmp_path))


def test_a_folder_gives_each_model_its_own_file(tmp_path: Path) -> None:
    for name in ("resnet50_imagenet", "mobilenet_v2_imagenet", "mobilenet_v2"):
        (tmp_path / f"{name}.safetensors").touch()
    assert find_file("resnet50", tmp_path).name == "resnet50_imagenet.safetensors"
    assert find_file("mobilenet_v2", tmp_path).name == "mobilenet_v2.safetensors"
    with pytest.raises(ModelError, match="holds 0 files"):
        find_file("mobilenet_v1_face", tmp_path)
    (tmp_path / "resnet50_other.safetensors").touch()
    with pytest.raises(ModelError, match=r"2 files.*resnet50_imagenet.safetensors, resnet50_other"):
        find_file("resnet50", tmp_path)


def test_unknown_models_and_options_are_explained() -> None:
    with pytest.raises(ConfigError, match=r"(?s)Allowed: cnn.*timm/NAME"):
        find_model("vgg")
    with pytest.raises(ConfigError, match=r"(?s)no option filter.*Allowed: dense, filters, kernels"):
        create_classifier(SIGNATURES["cnn"], Architecture(options={"filter": (8,)}))
    with pytest.raises(ConfigError, match=r"(?s)no option hidden, input_size.*no options"):
        create_classifier(SIGNATURES["mobilenet_v2"], Architecture(options={"hidden": 8, "input_size": 64}))
    for wrong in ({"dense": [16]}, {"dense": -1}, {"filters": ["a", 8], "kernels": [3, 3]}):
        with pytest.raises(ConfigError, match="The model cnn cannot be built with"):
            create_classifier(SIGNATURES["cnn"], Architecture(options=wrong))
    with pytest.raises(ConfigError, match="2 filters and 4 kernels"):
        create_classifier(SIGNATURES["cnn"], Architecture(options={"filters": (8, 8)}))
    with pytest.raises(ConfigError, match="too small"):
        create_classifier(
            replace(SIGNATURES["cnn"], input_size=32), Architecture(options={"kernels": (9,) * 4})
        )
    with pytest.raises(ConfigError, match="1 dropout"):
        create_classifier(SIGNATURES["attention_cnn"], Architecture(options={"dropouts": (0.1,)}))


def test_a_wrong_value_is_not_taken_for_an_unknown_option() -> None:
    with pytest.raises(ConfigError, match="cannot be built with hidden 'many'"):
        create_classifier(SIGNATURES["mobilenet_v1_face"], Architecture(options={"hidden": "many"}))


def test_only_transformers_prefer_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vit, "BLOCKS", 1)
    assert [name for name in SIGNATURES if _create(name).net.prefers_bfloat16] == ["clip_vit_b16"]


class _Tiny(nn.Module):
    """Stands in for a module of timm, which the tests do not install: it brings a CUDA build of torch."""

    num_features = 5
    pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.5, 1.0)}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.stem(x).mean((2, 3))


def test_a_timm_backbone_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrained_calls: list[bool] = []

    def create_model(name: str, pretrained: bool, num_classes: int) -> nn.Module:
        pretrained_calls.append(pretrained)
        return _Tiny()

    timm = types.ModuleType("timm")
    vars(timm).update(create_model=create_model, is_model="tiny".__eq__, list_models=lambda _: ["tiny"])
    monkeypatch.setitem(sys.modules, "timm", timm)
    signature = create_signature("timm/tiny", 64)
    assert signature.std == (63.75, 127.5, 255.0)
    model = create_classifier(signature)
    assert model.probs(torch.zeros(2, 64, 64, 3, dtype=torch.uint8)).shape == (2, 3)
    load_pretrained(model, "")
    assert pretrained_calls[-1] is True
    save_file(
        {"stem.weight": torch.ones(5, 3, 3, 3), "stem.bias": torch.ones(5)}, tmp_path / "tiny.safetensors"
    )
    load_pretrained(model, str(tmp_path))
    assert float(model.net.features.state_dict()["0.stem.bias"].sum()) == 5
    with pytest.raises(ConfigError, match="Similar: tiny"):
        create_signature("timm/none", 64)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependencyError, match=r"threeages\[timm\]"):
        create_signature("timm/tiny", 64)


def _saved(path: Path) -> dict[str, torch.Tensor]:
    tensors = {
        "a": torch.arange(60.0).reshape(3, 20).t(),
        "b": torch.tensor(3),
        "c": torch.ones(4).bfloat16(),
    }
    save_weights(path, tensors, {"losses": [0.1, 0.2], "only": None})
    return tensors


def test_weights_are_read_as_saved_with_what_is_known_of_them(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tensors, found = _saved(path), read_weights(path)
    assert found.keys() == tensors.keys() == load_file(path).keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    assert read_about(path) == {"losses": [0.1, 0.2], "only": None}
    first = path.read_bytes()
    _saved(path)
    assert path.read_bytes() == first
    save_file({"a": torch.zeros(2)}, path)
    assert read_about(path) is None
    assert read_weights(path).keys() == {"a"}


def test_no_flipped_bit_of_weights_goes_unseen(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    _saved(path)
    whole = path.read_bytes()
    ours = whole.index(b"threeages"), whole.index(b"threeages") + len(b"threeages")
    for place in range(len(whole)):
        if ours[0] - 20 <= place < ours[1]:  # the name of the note: without it the file has no checksum
            continue
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ModelError, match=r"damaged|Cannot load") as raised:
            read_weights(path)
        assert str(path) in raised.value.message
        assert raised.value.hint


@pytest.mark.parametrize("damaged", [b"", bytes(400), b"PK\x03\x04"])
def test_what_are_no_weights_is_named(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(damaged)
    with pytest.raises(ModelError, match="Cannot load"):
        read_weights(path)


def test_weights_of_another_program_with_impossible_values_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tensors = {k: v.contiguous() for k, v in _create("mobilenet_v2").net.features.state_dict().items()}
    kernel = next(name for name, value in tensors.items() if value.ndim == 4)
    save_file(tensors, path)
    load_pretrained(_create("mobilenet_v2"), str(path))
    for damaged in (torch.zeros_like(tensors[kernel]), tensors[kernel] * float("nan")):
        save_file(tensors | {kernel: damaged.contiguous()}, path)
        with pytest.raises(ModelError, match=f"'{kernel}' holds zeros alone"):
            load_pretrained(_create("mobilenet_v2"), str(path))
