import shutil
from pathlib import Path

import pytest

from threeages.bundled import ASSETS
from threeages.data.train_digests import create_train_digests
from threeages.errors import DataError, ModelError
from threeages.hub.contents import check_card, collect_model, describe_digests
from threeages.inference.runtime import default_model_path

CARD = (ASSETS / "default.md").read_text(encoding="utf-8")


def test_a_folder_gives_its_one_onnx_file(model: Path) -> None:
    (model / "model.onnx").rename(model / "mine.onnx")
    shared = collect_model(model)
    assert shared.files["model.onnx"] == model / "mine.onnx"
    assert set(shared.files) == {"model.onnx", "README.md", "signature.json", "LICENSE"}
    shutil.copy(model / "mine.onnx", model / "other.onnx")
    with pytest.raises(ModelError, match=r"holds 2 ONNX files: mine\.onnx, other\.onnx"):
        collect_model(model)
    assert collect_model(model / "other.onnx").files["model.onnx"] == model / "other.onnx"


def test_a_model_that_is_missing_or_damaged(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no model"):
        collect_model(tmp_path / "none")
    with pytest.raises(ModelError, match="holds 0 ONNX files"):
        collect_model(tmp_path)
    content = (model / "model.onnx").read_bytes()
    (model / "model.onnx").write_bytes(content[:-9] + b"123456789")
    with pytest.raises(ModelError, match=r"model\.onnx"):
        collect_model(model)


def test_a_model_without_a_card_is_refused(model: Path, tmp_path: Path) -> None:
    card = (model / "README.md").rename(tmp_path / "card.md")
    with pytest.raises(DataError, match="has no card") as error:
        collect_model(model)
    assert "threeages card" in error.value.hint
    assert collect_model(model, card).files["README.md"] == card


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CARD.partition("\n---\n")[2], "does not begin with a card's metadata"),
        (CARD.replace("\nlicense:", "\nlicence:"), "does not begin with a card's metadata"),
        (CARD.replace("Terms as stated", "Terms"), "no table of sources with their terms"),
    ],
)
def test_a_card_without_metadata_or_terms_is_refused(text: str, message: str) -> None:
    check_card(CARD, Path("README.md"))
    with pytest.raises(DataError, match=message):
        check_card(text, Path("README.md"))


def test_digests_are_named_with_the_way_to_leave_them_out() -> None:
    import numpy as np

    digests = create_train_digests(np.arange(32, dtype=np.uint8).reshape(2, 16), ["a"])
    images, identities, way = describe_digests(digests)
    assert "2 train images" in images
    assert "1 identity:" in identities
    assert "--digests none" in way
    assert list(describe_digests(None)) == []
    assert len(list(describe_digests(digests.without_identities()))) == 2


def test_the_shipped_model_can_be_shared_with_its_card(tmp_path: Path) -> None:
    shared = collect_model(default_model_path(), ASSETS / "default.md")
    assert shared.signature.name == "mobilenet_v1_face"
