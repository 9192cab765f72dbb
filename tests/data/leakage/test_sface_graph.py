import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from threeages.data.leakage.sface_graph import INPUT, prepare_graph


def test_the_graph_takes_a_batch_of_faces_alone_and_answers_as_before(sface: bytes) -> None:
    faces = np.random.default_rng(1).uniform(0, 255, (5, 3, 112, 112)).astype(np.float32)
    prepared = onnxruntime.InferenceSession(prepare_graph(sface))
    assert [item.name for item in prepared.get_inputs()] == [INPUT]
    found = prepared.run(None, {INPUT: faces})[0]
    assert found.shape == (5, 128)
    original = onnx.load_from_string(sface)
    kernel = (numpy_helper.to_array(original.graph.initializer[0]).astype(np.float32) - 3) * np.float32(0.001)
    for node in original.graph.node[:1]:
        original.graph.node.remove(node)
    session = onnxruntime.InferenceSession(original.SerializeToString())
    expected = [session.run(None, {INPUT: face[None], "kernel": kernel})[0][0] for face in faces]
    assert np.abs(found - np.stack(expected)).max() < 1e-3 * np.abs(expected).max()


def test_neither_int8_weights_nor_prelu_are_left(sface: bytes) -> None:
    kinds = {node.op_type for node in onnx.load_from_string(prepare_graph(sface)).graph.node}
    assert kinds == {"Conv", "Relu", "Mul", "Add", "Flatten", "Gemm"}


def test_without_onnx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from threeages.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"threeages\[audit\]"):
        prepare_graph(b"")
