"""Whether the telemetry of the libraries in use is off."""

import os
from collections.abc import Iterator

from threeages.doctor.findings import Finding
from threeages.telemetry import OTHERS, SWITCHES, was_too_late

OFF = dict.fromkeys(SWITCHES, "1") | OTHERS


def check_telemetry() -> Iterator[Finding]:
    """Whether every switch is set, and was set before anything loaded ONNX Runtime."""
    values = {name: os.environ.get(name, "") for name in OFF}
    found = ", ".join(f"{name}={value or 'not set'}" for name, value in values.items())
    details = {"switches": values, "too_late": was_too_late()}
    changed = [name for name, value in values.items() if value != OFF[name]]
    if was_too_late():
        advice = f"Import threeages first, or set {SWITCHES[0]}=1 before Python starts."
        text = "ONNX Runtime was imported before threeages could turn its telemetry off"
        yield Finding("telemetry", "warning", text, advice, details)
    elif changed:
        advice = f"Set {changed[0]}={OFF[changed[0]]} before Python starts; something has changed it."
        yield Finding("telemetry", "fault", f"not off: {found}", advice, details)
    else:
        yield Finding("telemetry", "ok", f"off: {found}", details=details)
