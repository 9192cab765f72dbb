from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from threeages.data.manifest import Manifest, load_manifest
from threeages.models import vit
from threeages.models.classifier import create_classifier
from threeages.models.registry import create_signature


@pytest.fixture(scope="module")
def manifest(faces_csv: Path) -> Manifest:
    return load_manifest(faces_csv)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of CLIP's image encoder with one of its blocks; the other eleven are the same."""
    monkeypatch.setattr(vit, "BLOCKS", 1)
    torch.manual_seed(0)
    model = create_classifier(create_signature("clip_vit_b16", 224))
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.02)
    path = tmp_path / "encoder.safetensors"
    save_file({k: v.contiguous() for k, v in model.net.features.state_dict().items()}, path)
    return path
