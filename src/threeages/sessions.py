"""Every session of ONNX Runtime in this package: without telemetry, on the device that is chosen."""

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import onnxruntime

from threeages.errors import ConfigError, describe_cause

logger = logging.getLogger(__name__)

# On Windows this is the only switch; elsewhere threeages.telemetry has set one before the import, unless the
# caller imported ONNX Runtime first: then this call stops all events but the first.
onnxruntime.disable_telemetry_events()

Session: TypeAlias = onnxruntime.InferenceSession  # for annotations: no other module imports ONNX Runtime
CreateOptions: TypeAlias = Callable[[], onnxruntime.SessionOptions]
CPU = "CPUExecutionProvider"


class Device(NamedTuple):
    """What ONNX Runtime calls a device, its options there, and what to do where it is missing.

    `entries` are of the session's configuration, `batch` is how many images of ours are best run at once.
    """

    provider: str
    hint: str
    options: dict[str, str]
    entries: Mapping[str, str] = MappingProxyType({})
    batch: int = 32


def _replace_by(package: str) -> str:
    """How to install another build of ONNX Runtime; two of them write the same folder."""
    return f"Run: pip uninstall -y onnxruntime && pip install {package}"


DEVICES = {
    "cpu": Device(CPU, "", {}),
    # the photos of a folder come in batches of few sizes, and answers stay as near to the CPU's as can be
    "cuda": Device(
        "CUDAExecutionProvider",
        _replace_by("'onnxruntime-gpu[cuda,cudnn]'"),
        {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"},
        # it has no convolution in int8: the weights become floats once, when a model is opened
        {"session.disable_quant_qdq": "1"},
        batch=128,
    ),
    "coreml": Device("CoreMLExecutionProvider", "It needs macOS, whose build of onnxruntime has it.", {}),
    "openvino": Device("OpenVINOExecutionProvider", _replace_by("onnxruntime-openvino"), {}),
}
AUTO = "auto"
DEVICE_NAMES = (AUTO, *DEVICES)

NUMBERS = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}  # types of the inputs of our models


def create_session(
    model: Path | bytes,
    *,
    device: str = "cpu",
    threads: int | None = None,
    spinning: bool = True,
    memory_pattern: bool = True,
) -> Session:
    """A session for the ONNX model in a file or in bytes.

    `device` is one of DEVICE_NAMES; `auto` is CUDA where ONNX Runtime has it and it works, else the CPU. A
    device that is missing or does not work is replaced by the CPU, with a warning that names it and says
    what to install. `threads` is the number of threads inside one run; None takes all cores. Idle threads
    spin or sleep. A `memory_pattern` is for inputs of one shape. Raises ConfigError for another device, and
    what ONNX Runtime raises for the model.
    """
    options = partial(_create_options, threads, spinning, memory_pattern)
    chosen = _choose_device(device)
    if chosen.provider != CPU:
        session = _try_device(model, options, chosen)
        if session is not None:
            return session
    return onnxruntime.InferenceSession(model, options(), providers=[CPU])


def _create_options(threads: int | None, spinning: bool, memory_pattern: bool) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.enable_mem_pattern = memory_pattern
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def check_device(device: str) -> None:
    """Raise ConfigError where a device is none of DEVICE_NAMES."""
    if device not in DEVICE_NAMES:
        raise ConfigError(f"The device was '{device}'.", hint=f"Give one of {', '.join(DEVICE_NAMES)}.")


def list_providers() -> list[str]:
    """The providers that this build of ONNX Runtime has, whether they work here or not."""
    return list(onnxruntime.get_available_providers())


def session_device(session: Session) -> str:
    """The name of the device that a session runs on, such as 'cpu'."""
    first: str = session.get_providers()[0]
    return next((name for name, device in DEVICES.items() if device.provider == first), first)


def session_batch(session: Session) -> int:
    """How many images are best run at once on the device of a session."""
    return DEVICES.get(session_device(session), DEVICES["cpu"]).batch


def _choose_device(name: str) -> Device:
    """The device of a name; the CPU, with a warning, where this build of ONNX Runtime lacks it."""
    check_device(name)
    available: Sequence[str] = onnxruntime.get_available_providers()
    if name == AUTO:
        return DEVICES["cuda" if DEVICES["cuda"].provider in available else "cpu"]
    device = DEVICES[name]
    if device.provider in available:
        return device
    logger.warning(
        "This installation of ONNX Runtime has no %s (it has %s): the CPU is used. %s",
        device.provider,
        ", ".join(available),
        device.hint,
    )
    return DEVICES["cpu"]


def _try_device(model: Path | bytes, options: CreateOptions, device: Device) -> Session | None:
    """A session on a device that answered once; None, with a warning, where it does not work.

    ONNX Runtime lists a provider whose driver or libraries are missing, and then takes the CPU by itself.
    """
    try:
        session = _open_on_device(model, options, device)
        if device.provider not in session.get_providers():
            raise RuntimeError("its driver or its libraries are missing")
        session.run(None, _blank_inputs(session))
    except Exception as error:  # onnxruntime raises its own unrelated classes
        reason = describe_cause(str(error).strip().partition("\n")[0])
        logger.warning("%s does not work here (%s): the CPU is used.", device.provider, reason)
        return None
    return session


def _open_on_device(model: Path | bytes, create_options: CreateOptions, device: Device) -> Session:
    options = create_options()
    for key, value in device.entries.items():
        options.add_session_config_entry(key, value)
    if device is DEVICES["cuda"]:
        _load_cuda()
    return onnxruntime.InferenceSession(model, options, providers=[(device.provider, device.options), CPU])


@cache
def _load_cuda() -> None:
    """Load CUDA and cuDNN from the packages of pip where they are there; else the system's are used.

    A release of ONNX Runtime before 1.21 looks in the system alone. What it prints goes to the log.
    """
    load = getattr(onnxruntime, "preload_dlls", None)
    said = io.StringIO()
    with redirect_stdout(said):
        if load is not None:
            load()
    if said.getvalue():
        logger.debug("%s", said.getvalue().strip())


def _blank_inputs(session: Session) -> dict[str, Any]:
    """Zeros for every input of a session, one where a side is free."""
    return {
        item.name: np.zeros([n if isinstance(n, int) else 1 for n in item.shape], NUMBERS[item.type])
        for item in session.get_inputs()
    }
