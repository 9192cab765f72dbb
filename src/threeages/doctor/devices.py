"""OpenCV, ONNX Runtime and torch: whether each can be loaded, and the devices that it really uses."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from threeages.doctor.findings import Finding, hide_home
from threeages.errors import format_count
from threeages.machine import ONNX_RUNTIME, OPENCV, list_versions


def check_opencv() -> Iterator[Finding]:
    """Whether OpenCV loads, which of its packages is there, and with how many threads it computes."""
    import cv2

    from threeages.faces.process import configure_process

    configure_process()
    packages = ", ".join(list_versions(OPENCV)) or "no package of pip"
    details = {"version": cv2.__version__, "packages": packages, "threads": cv2.getNumThreads()}
    found = f"{cv2.__version__} ({packages}), {format_count(cv2.getNumThreads(), 'thread')} for an image"
    yield Finding("opencv", "ok", found, details=details)


def check_onnxruntime() -> Iterator[Finding]:
    """The providers of this build of ONNX Runtime, and the device that the shipped model runs on."""
    from threeages.inference.runtime import OnnxModel, default_model_path
    from threeages.sessions import AUTO, list_providers

    with _collect_warnings() as said:
        device = OnnxModel(default_model_path(), device=AUTO).device
    build = ", ".join(f"{name} {version}" for name, version in list_versions(ONNX_RUNTIME).items())
    providers = list_providers()
    details = {"build": build, "providers": providers, "device": device}
    found = f"{build}; the model runs on: {device} (this build has {', '.join(providers)})"
    if said:
        yield Finding("onnxruntime", "warning", f"{found}. {hide_home(' '.join(said))}", _repair(), details)
        return
    yield Finding("onnxruntime", "ok", found, _name_idle_gpu(providers), details)


def _name_idle_gpu(providers: Sequence[str]) -> str:
    """How to use the GPU of NVIDIA whose driver is there, where this build of ONNX Runtime cannot."""
    from threeages.sessions import DEVICES

    cuda = DEVICES["cuda"]
    if cuda.provider in providers or not shutil.which("nvidia-smi"):
        return ""
    return f"A driver of NVIDIA is there, and this build cannot use it. {cuda.hint}"


def _repair() -> str:
    return (
        "Install the driver of that device and its libraries: for CUDA, pip install "
        "'onnxruntime-gpu[cuda,cudnn]' brings them. Or give --device cpu to predict and serve."
    )


@contextmanager
def _collect_warnings() -> Iterator[list[str]]:
    """The texts of what the package warns of in the block."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("threeages")
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


def check_torch() -> Iterator[Finding]:
    """The devices that torch can compute on, tried; nothing where it is not installed."""
    if not find_spec("torch"):
        return
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    tried = {name: _try_device(name) for name in ("cpu", *(name for name in there if there[name]))}
    working = [name for name, fault in tried.items() if not fault]
    details = {"version": str(torch.__version__), "threads": torch.get_num_threads(), "devices": working}
    found = f"{torch.__version__}, {format_count(torch.get_num_threads(), 'thread')}"
    if there["cuda"]:
        cards = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        details |= {"cuda": torch.version.cuda, "cards": cards}
        found = f"{found}, CUDA {torch.version.cuda} with {', '.join(cards)}"
    found = f"{found}; devices that work: {', '.join(working)}"
    faults = "; ".join(f"{name} does not work: {fault}" for name, fault in tried.items() if fault)
    if faults:
        advice = "Repair its driver, or hide the device: CUDA_VISIBLE_DEVICES= in the environment."
        yield Finding("torch", "warning", f"{found}; {faults}", advice, details)
        return
    yield Finding("torch", "ok", found, details=details)


def _try_device(name: str) -> str:
    """Why torch cannot compute on a device; '' where it can."""
    import torch

    try:
        torch.ones(2, device=name).sum().item()
    except RuntimeError as error:
        return hide_home(str(error).partition("\n")[0])
    return ""
