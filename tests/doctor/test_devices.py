import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from threeages import sessions
from threeages.doctor import devices, privacy


def test_the_device_of_a_real_session_is_named() -> None:
    (found,) = devices.check_onnxruntime()
    assert found.details["device"] in sessions.DEVICES
    assert sessions.CPU in found.details["providers"]
    assert f"runs on: {found.details['device']}" in found.found


def test_a_device_that_does_not_work_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that lists a device whose driver is missing, as onnxruntime-gpu does."""
    offered = [sessions.DEVICES["cuda"].provider, sessions.CPU]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: offered)
    (found,) = devices.check_onnxruntime()
    assert (found.verdict, found.details["device"]) == ("warning", "cpu")
    assert "CUDAExecutionProvider does not work here" in found.found
    assert found.advice
    assert not logging.getLogger("threeages").handlers


@pytest.mark.parametrize("driver", [None, "/usr/bin/nvidia-smi"])
def test_a_gpu_that_this_build_leaves_idle_is_named(
    driver: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [sessions.CPU])
    monkeypatch.setattr("shutil.which", lambda _: driver)
    (found,) = devices.check_onnxruntime()
    assert found.verdict == "ok"
    assert found.advice.endswith("pip install 'onnxruntime-gpu[cuda,cudnn]'") == (driver is not None)


def test_opencv_is_loaded_and_named() -> None:
    (found,) = devices.check_opencv()
    assert found.verdict == "ok"
    assert found.details["threads"] >= 1


def _fake_torch(works: bool) -> Any:
    def ones(_: int, device: str) -> Any:
        if device == "cuda" and not works:
            raise RuntimeError("CUDA error: no kernel image is available\nfor execution")
        return SimpleNamespace(sum=lambda: SimpleNamespace(item=lambda: 2.0))

    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 1, get_device_name=lambda _: "A card"
    )
    return SimpleNamespace(
        __version__="2.9", get_num_threads=lambda: 4, cuda=cuda, ones=ones,
        version=SimpleNamespace(cuda="12.8"),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False)),
    )  # fmt: skip


@pytest.mark.parametrize("works", [True, False])
def test_every_device_of_torch_is_tried(works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_spec", lambda _: True)
    monkeypatch.setitem(sys.modules, "torch", _fake_torch(works))
    (found,) = devices.check_torch()
    assert found.verdict == ("ok" if works else "warning")
    assert found.details["devices"] == (["cpu", "cuda"] if works else ["cpu"])
    assert "4 threads, CUDA 12.8 with A card" in found.found
    assert ("no kernel image is available" in found.found) != works


def test_without_torch_there_is_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_spec", lambda _: None)
    assert list(devices.check_torch()) == []


@pytest.mark.parametrize("switch", privacy.OFF)
def test_telemetry_is_off_and_a_change_is_a_fault(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in privacy.OFF.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(privacy, "was_too_late", lambda: False)
    (off,) = privacy.check_telemetry()
    monkeypatch.setenv(switch, "0")
    (changed,) = privacy.check_telemetry()
    monkeypatch.setattr(privacy, "was_too_late", lambda: True)
    (late,) = privacy.check_telemetry()
    assert [found.verdict for found in (off, changed, late)] == ["ok", "fault", "warning"]
    assert f"{switch}=0" in changed.found
    assert f"Set {switch}=" in changed.advice
    assert privacy.SWITCHES[0] in late.advice
