"""OpenCV, ONNX Runtime and torch: whether each can be loaded, and the devices that it really uses."""

import logging
from collections.abc import Iterator
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
    """The providers of this build of ONNX Runtime, and the device that a session of the shipped model uses."""
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
    yield Finding("onnxruntime", "ok", found, details=details)


def _repair() -> str:
    return "Install the driver and the libraries of that device, or give --device cpu to predict and serve."


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

    details = {"version": str(torch.__version__), "threads": torch.get_num_threads(), "devices": ["cpu"]}
    found = f"{torch.__version__}, {format_count(torch.get_num_threads(), 'thread')}"
    names = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    for name in (name for name, there in names.items() if there):
        try:
            torch.ones(2, device=name).sum().item()
        except RuntimeError as error:
            cause = hide_home(str(error).partition("\n")[0])
            advice = "Repair its driver, or hide the device: CUDA_VISIBLE_DEVICES= in the environment."
            yield Finding("torch", "warning", f"{found}; {name} does not work: {cause}", advice, details)
            return
        details["devices"] = [*details["devices"], name]
    if names["cuda"]:
        cards = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        details |= {"cuda": torch.version.cuda, "cards": cards}
        found = f"{found}, CUDA {torch.version.cuda} with {', '.join(cards)}"
    yield Finding("torch", "ok", f"{found}; devices: {', '.join(details['devices'])}", details=details)
