import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import threeages
from threeages import sessions
from threeages.demo import find_portraits
from threeages.errors import ConfigError
from threeages.inference.runtime import OnnxModel, default_model_path
from threeages.server.settings import Settings

CUDA = "CUDAExecutionProvider"
MODEL = default_model_path()


class FakeSession:
    """A session as a build with other providers gives it; `works` are those whose libraries are there."""

    works: tuple[str, ...] = ()
    fails_at = ""
    opened: list[list[Any]]
    options: list[onnxruntime.SessionOptions]

    def __init__(self, _: object, options: onnxruntime.SessionOptions, providers: list[Any]) -> None:
        self.opened.append(providers)
        self.options.append(options)
        names = [name if isinstance(name, str) else name[0] for name in providers]
        if self.fails_at == "open" and len(names) > 1:
            raise RuntimeError("CUDA failure 35: driver is too old\nat line 12")
        self.names = [name for name in names if name in self.works or name == sessions.CPU]

    def get_providers(self) -> list[str]:
        return self.names

    def get_inputs(self) -> list[Any]:
        return []

    def run(self, *_: object) -> list[Any]:
        if self.fails_at == "run" and len(self.names) > 1:
            raise RuntimeError("CUDNN_STATUS_NOT_INITIALIZED")
        return []


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeSession]:
    monkeypatch.setattr(onnxruntime, "InferenceSession", FakeSession)
    for name, value in (("works", ()), ("fails_at", ""), ("opened", []), ("options", [])):
        monkeypatch.setattr(FakeSession, name, value, raising=False)
    return FakeSession


def _offer(monkeypatch: pytest.MonkeyPatch, *providers: str) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*providers, sessions.CPU])


@pytest.mark.parametrize("device", [name for name in sessions.DEVICES if name != "cpu"])
def test_a_device_that_works_is_used(
    device: str, fake: type[FakeSession], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    provider = sessions.DEVICES[device].provider
    _offer(monkeypatch, provider)
    fake.works = (provider,)
    assert sessions.session_device(sessions.create_session(b"", device=device)) == device
    assert not caplog.records


@pytest.mark.parametrize("device", [name for name in sessions.DEVICES if name != "cpu"])
def test_a_missing_device_is_replaced_aloud(
    device: str, fake: type[FakeSession], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _offer(monkeypatch)
    assert sessions.session_device(sessions.create_session(b"", device=device)) == "cpu"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for part in (sessions.DEVICES[device].provider, "the CPU is used", sessions.DEVICES[device].hint):
        assert part in record.getMessage()
    assert fake.opened == [[sessions.CPU]]


@pytest.mark.parametrize("device", ["cuda", "auto"])
@pytest.mark.parametrize(
    ("fails_at", "reason"),
    [("", "libraries are missing"), ("open", "driver is too old): "), ("run", "NOT_INITIALIZED")],
)
def test_a_device_that_does_not_work_is_replaced_aloud(
    device: str, fails_at: str, reason: str, fake: type[FakeSession], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    _offer(monkeypatch, CUDA)
    fake.fails_at, fake.works = fails_at, (CUDA,) if fails_at else ()
    session = sessions.create_session(b"", device=device)
    assert sessions.session_device(session) == "cpu"
    (record,) = caplog.records
    assert CUDA in record.getMessage()
    assert reason in record.getMessage()


def test_auto_is_cuda_where_it_works_and_else_the_cpu_in_silence(
    fake: type[FakeSession], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _offer(monkeypatch, "OpenVINOExecutionProvider")
    assert sessions.session_device(sessions.create_session(b"", device="auto")) == "cpu"
    _offer(monkeypatch, CUDA)
    fake.works = (CUDA,)
    assert sessions.session_device(sessions.create_session(b"", device="auto")) == "cuda"
    assert not caplog.records


@pytest.mark.parametrize("works", [True, False])
def test_int8_weights_become_floats_on_a_gpu_alone(
    works: bool, fake: type[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    _offer(monkeypatch, CUDA)
    fake.works = (CUDA,) if works else ()
    session = sessions.create_session(b"", device="cuda")
    values = [_read_entry(options, "session.disable_quant_qdq") for options in fake.options]
    assert values == (["1"] if works else ["1", ""])
    assert sessions.session_batch(session) == (128 if works else 32)


def test_the_shipped_model_answers_the_same_with_float_weights() -> None:
    """What a GPU computes of the int8 form, on the CPU: the weights and activations of int8, in floats."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 192, 192, 3), dtype=np.uint8)
    expected = OnnxModel(MODEL, threads=1).predict(pixels)
    options = onnxruntime.SessionOptions()
    for key, value in sessions.DEVICES["cuda"].entries.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(MODEL, options, providers=[sessions.CPU])
    (found,) = session.run(["probs"], {"pixels": pixels})
    assert found == pytest.approx(expected, abs=0.02)


def test_what_loading_cuda_prints_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="threeages.sessions")
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcudnn.so.9"))
    sessions._load_cuda.cache_clear()
    sessions._load_cuda()
    assert capsys.readouterr().out == ""
    assert "libcudnn" in caplog.text
    monkeypatch.delattr(onnxruntime, "preload_dlls")  # of releases before 1.21
    sessions._load_cuda.cache_clear()
    sessions._load_cuda()


def _read_entry(options: onnxruntime.SessionOptions, key: str) -> str:
    try:
        return str(options.get_session_config_entry(key))
    except RuntimeError:  # there is no such entry
        return ""


def test_an_unknown_device_is_an_error() -> None:
    for make in (
        lambda: sessions.create_session(MODEL, device="gpu"),
        lambda: OnnxModel(MODEL, device="cuda:0"),
        lambda: Settings(device="tpu"),
        lambda: threeages.load_predictor(device="CPU "),
    ):
        with pytest.raises(ConfigError, match="auto, cpu, cuda, coreml, openvino"):
            make()


def test_every_device_of_this_machine_answers_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """On a machine with the CPU alone, every name is the CPU and every record equal."""
    portrait = find_portraits()[0]
    found = {}
    for device in sessions.DEVICE_NAMES:
        predictor = threeages.load_predictor(device=device)
        (found[device],) = predictor.predict([portrait])
    for record in found.values():
        assert (record.status, record.box, record.age_group) == (
            "ok",
            found["cpu"].box,
            found["cpu"].age_group,
        )
        assert record.probs == pytest.approx(found["cpu"].probs, abs=1e-3)
    if onnxruntime.get_available_providers()[-1:] == [sessions.CPU]:
        assert found["auto"].to_dict() == found["cpu"].to_dict()


def test_a_blank_batch_fits_the_model() -> None:
    """What a device is tried with: one image, where the number is free."""
    session = sessions.create_session(MODEL)
    (pixels,) = sessions._blank_inputs(session).values()
    assert (pixels.shape[0], pixels.dtype) == (1, np.uint8)
    assert session.run(["probs"], {"pixels": pixels})[0].shape == (1, 3)


def test_the_choice_reaches_the_model() -> None:
    assert OnnxModel(Path(MODEL), device="auto").device in sessions.DEVICES
