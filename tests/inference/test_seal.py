import shutil
from pathlib import Path

import onnx
import pytest

from threeages.errors import ModelError
from threeages.inference.runtime import OnnxModel, default_model_path, replace_signature
from threeages.inference.seal import LONGEST, check_model, seal_model


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sealed") / "model.onnx"
    shutil.copy(default_model_path(), path)
    replace_signature(path, OnnxModel(path).signature)
    return path


def test_a_sealed_model_is_a_valid_one_with_its_metadata(sealed: Path) -> None:
    model = onnx.load(sealed)
    onnx.checker.check_model(model)
    assert [entry.key for entry in model.metadata_props] == ["threeages.signature", "threeages.checksum"]
    assert OnnxModel(sealed).signature == OnnxModel(default_model_path()).signature


def test_no_flipped_byte_goes_unseen(sealed: Path, tmp_path: Path) -> None:
    path, whole = tmp_path / "model.onnx", sealed.read_bytes()
    for place in (*range(0, len(whole), len(whole) // 40), *range(len(whole) - LONGEST, len(whole))):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ModelError, match=r"damaged"):
            check_model(path)


def test_a_model_that_was_changed_since_is_refused(sealed: Path, tmp_path: Path) -> None:
    model = onnx.load(sealed)
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    for name, entries in (("sealed", 2), ("unsealed", 1)):
        del model.metadata_props[entries:]
        onnx.save(model, tmp_path / f"{name}.onnx")
        with pytest.raises(ModelError, match="damaged"):
            OnnxModel(tmp_path / f"{name}.onnx")


def test_a_copy_of_the_shipped_model_needs_no_seal(tmp_path: Path) -> None:
    check_model(Path(shutil.copy(default_model_path(), tmp_path)))


def test_the_seal_covers_what_stands_before(tmp_path: Path) -> None:
    for size in (0, 1, 100, 20_000_000):
        path = tmp_path / f"{size}"
        path.write_bytes(seal_model(bytes(size)))
        check_model(path)
