import shutil
from pathlib import Path

import onnx
import pytest

from threeages.errors import ModelError
from threeages.inference.model_checksum import LONGEST, add_checksum, check_model
from threeages.inference.runtime import OnnxModel, default_model_path, replace_signature


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    shutil.copy(default_model_path(), path)
    replace_signature(path, OnnxModel(path).signature)
    return path


def test_an_exported_model_is_a_valid_one_with_its_metadata(exported: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model)
    assert [entry.key for entry in model.metadata_props] == ["threeages.signature", "threeages.checksum"]
    assert OnnxModel(exported).signature == OnnxModel(default_model_path()).signature


def test_no_flipped_byte_goes_unseen(exported: Path, tmp_path: Path) -> None:
    path, whole = tmp_path / "model.onnx", exported.read_bytes()
    for place in (*range(0, len(whole), len(whole) // 40), *range(len(whole) - LONGEST, len(whole))):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ModelError, match=r"damaged"):
            check_model(path)


def test_a_model_that_was_changed_since_is_refused(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    for name, entries in (("exported", 2), ("without", 1)):
        del model.metadata_props[entries:]
        onnx.save(model, tmp_path / f"{name}.onnx")
        with pytest.raises(ModelError, match="damaged"):
            OnnxModel(tmp_path / f"{name}.onnx")


def test_a_copy_of_the_shipped_model_needs_no_checksum(tmp_path: Path) -> None:
    check_model(Path(shutil.copy(default_model_path(), tmp_path)))


def test_the_checksum_covers_what_stands_before(tmp_path: Path) -> None:
    for size in (0, 1, 100, 20_000_000):
        path = tmp_path / f"{size}"
        path.write_bytes(add_checksum(bytes(size)))
        check_model(path)
