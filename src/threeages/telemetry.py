"""Turns the telemetry of the libraries in use off, before anything can load them."""

import logging
import os
import sys

# ONNX Runtime's releases from 1.29 on read the first name, builds between releases the second
SWITCHES = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")
OTHERS = {  # of the libraries that track a training and share a model; each reads its own at the import
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
}
_too_late = False


def turn_off_telemetry() -> None:
    """Set the switches of every library in the environment of this process, and so of those it starts.

    ONNX Runtime reads its own once, when it is imported: it then writes a device id below the user's cache
    and starts to send events. Where it was imported without them before, a warning is logged.
    """
    global _too_late
    too_late = "onnxruntime" in sys.modules and SWITCHES[0] not in os.environ
    _too_late = _too_late or too_late
    for name in SWITCHES:
        os.environ[name] = "1"
    os.environ.update(OTHERS)
    if too_late:
        logging.getLogger(__name__).warning(
            "onnxruntime was imported before threeages: from release 1.29 on it has written a device id and "
            "looks up a host to send events to. Import threeages first, or set %s=1.",
            SWITCHES[0],
        )


def was_too_late() -> bool:
    """Whether ONNX Runtime was imported in this process before its telemetry could be turned off."""
    return _too_late
