from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from threeages.demo import find_portraits
from threeages.errors import ModelError
from threeages.faces.crop import Face
from threeages.faces.images import Pixels, load_image
from threeages.faces.yunet import YUNET_PATH, YuNet, create_blob

PORTRAITS = find_portraits()


def _draw_crowd() -> Pixels:
    """Portraits of many sizes on a photo without a face; its sides are no multiples of 32."""
    scene = np.tile(load_image(Path(skimage.data.__file__).parent / "coffee.png")[:, :, :3], (2, 1, 1))[:701]
    for i, width in enumerate((40, 60, 90, 150)):
        portrait = load_image(PORTRAITS[i % len(PORTRAITS)])
        height = width * portrait.shape[0] // portrait.shape[1]
        small = cv2.resize(portrait, (width, height), interpolation=cv2.INTER_AREA)
        scene[20 + 100 * i : 20 + 100 * i + height, 140 * i : 140 * i + width] = small
    return scene


@pytest.fixture(scope="module")
def separate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network with the twelve outputs that OpenCV takes."""
    onnx = pytest.importorskip("onnx", exc_type=ImportError)
    model = onnx.load(YUNET_PATH)
    make, graph = onnx.helper, model.graph
    del graph.output[:]
    ends = {"cls": (0, 1), "obj": (1, 2), "bbox": (2, 6), "kps": (0, 10)}
    for name, bounds in ends.items():
        for bound, n in zip(("start", "end"), bounds, strict=True):
            graph.initializer.append(onnx.numpy_helper.from_array(np.array([n]), f"{name}_{bound}"))
        for stride in (8, 16, 32):
            source = f"{'landmarks' if name == 'kps' else 'places'}_{stride}"
            cut, out = f"{name}_{stride}_cut", f"{name}_{stride}"
            inputs = [source, f"{name}_start", f"{name}_end", "boxes_axis"]
            graph.node.append(make.make_node("Slice", inputs, [cut]))
            kind = "Sigmoid" if name in {"cls", "obj"} else "Identity"
            graph.node.append(make.make_node(kind, [cut], [out]))
            graph.output.append(make.make_tensor_value_info(out, 1, [1, "n", bounds[1] - bounds[0]]))
    path = tmp_path_factory.mktemp("opencv") / "yunet.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("min_score", [0.1, 0.4, 0.7])
def test_it_finds_what_opencv_finds_with_the_same_network(min_score: float, separate: Path) -> None:
    scene = _draw_crowd()
    height, width = scene.shape[:2]
    opencv = cv2.FaceDetectorYN.create(str(separate), "", (width, height), min_score)
    _, rows = opencv.detect(np.ascontiguousarray(scene[:, :, ::-1]))
    rows = rows[np.argsort(-rows[:, 2] * rows[:, 3])]
    faces = YuNet().detect_at(scene, max(scene.shape), min_score)
    assert len(faces) == len(rows) >= 2
    for face, row in zip(faces, rows, strict=True):
        corners = np.clip(np.array([*row[:2], *(row[:2] + row[2:4])]), 0, [width, height] * 2)
        np.testing.assert_allclose(face.box, corners, atol=0.01)
        assert face.landmarks is not None
        np.testing.assert_allclose(face.landmarks.ravel(), row[4:14], atol=0.01)
        assert face.score == pytest.approx(row[14], abs=1e-4)


def test_the_input_is_opencvs_of_the_padded_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    padded = cv2.copyMakeBorder(pixels, 0, 14, 0, 26, cv2.BORDER_CONSTANT)
    np.testing.assert_array_equal(create_blob(pixels), cv2.dnn.blobFromImage(padded, swapRB=True))


def test_a_missing_detector_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="missing"):
        YuNet(tmp_path / "none.onnx")


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sides at which YuNet runs, in order."""
    sides: list[int] = []
    detect_at = YuNet.detect_at

    def record(self: YuNet, pixels: Pixels, side: int, min_score: float) -> list[Face]:
        sides.append(side)
        return detect_at(self, pixels, side, min_score)

    monkeypatch.setattr(YuNet, "detect_at", record)
    return sides


def test_a_clear_face_is_found_at_the_quick_side_alone(sides: list[int]) -> None:
    portrait = load_image(PORTRAITS[0])
    assert len(YuNet().detect(portrait)) == 1
    assert sides == [320]


def test_small_faces_and_none_are_detected_again(sides: list[int]) -> None:
    portrait = load_image(PORTRAITS[0])
    height, width = portrait.shape[:2]
    small = cv2.resize(portrait, (width // 6, height // 6), interpolation=cv2.INTER_AREA)
    scene = np.full((600, 640, 3), 120, dtype=np.uint8)
    assert YuNet().detect(scene) == []
    scene[: small.shape[0], : small.shape[1]] = small
    (face,) = YuNet().detect(scene)
    assert face.shorter < 40
    assert sides == [320, 640, 320, 640]
