import hashlib
from pathlib import Path

import numpy as np
import pytest

from threeages.data.cache import open_cache
from threeages.data.leakage import embedder
from threeages.data.leakage.embedder import FaceEmbedder, find_embedder
from threeages.data.leakage.embeddings import open_embeddings
from threeages.data.manifest import Manifest, load_manifest
from threeages.data.stored.listed import find_stored
from threeages.errors import ModelError


@pytest.fixture
def model(sface: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model that counts as known."""
    path = tmp_path / "sface.onnx"
    path.write_bytes(sface)
    monkeypatch.setitem(embedder.KNOWN, hashlib.sha256(path.read_bytes()).hexdigest(), "tiny")
    return path


def test_vectors_have_length_one_whatever_the_batch(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (7, 112, 112, 3), dtype=np.uint8)
    whole = FaceEmbedder(model).embed(faces)
    assert whole.shape == (7, 128)
    assert np.allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    monkeypatch.setattr(embedder, "BATCH", 3)
    assert np.allclose(FaceEmbedder(model).embed(faces), whole, atol=1e-5)
    assert FaceEmbedder(model).embed(faces[:0]).shape == (0, 128)


def test_a_file_that_is_not_known_is_refused_with_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(b"other")
    with pytest.raises(ModelError, match=hashlib.sha256(b"other").hexdigest()) as caught:
        FaceEmbedder(path)
    assert "--face-model" in caught.value.hint
    with pytest.raises(ModelError, match="absent"):
        FaceEmbedder(tmp_path / "absent.onnx")


def test_the_file_of_an_installed_package_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "holder_of_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(embedder, "PACKAGES", {"absent_holder": "a", "holder_of_weights": "models/a.onnx"})
    assert find_embedder() is None
    (package / "models" / "a.onnx").touch()
    assert find_embedder() == package / "models" / "a.onnx"


def test_embeddings_are_stored_and_zero_where_an_image_failed(
    model: Path, faces_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = load_manifest(faces_csv).select(range(4))
    few = Manifest(few.root, (*few.paths[:3], "absent.jpg"), few.labels)
    cache = open_cache(few, 112, alignment=1.0, folder=tmp_path / "cache", workers=1)
    first = open_embeddings(cache, FaceEmbedder(model))
    assert np.abs(first).max(axis=1).astype(bool).tolist() == [True] * 3 + [False]
    assert sum("embeddings-" in str(stored.path) for stored in find_stored(tmp_path / "cache")) == 1
    again = FaceEmbedder(model)
    monkeypatch.setattr(again, "embed", None)  # it is not asked
    assert np.array_equal(open_embeddings(cache, again), first)
