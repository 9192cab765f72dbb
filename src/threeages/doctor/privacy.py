"""Whether the telemetry of ONNX Runtime is off."""

import os
from collections.abc import Iterator

from threeages.doctor.findings import Finding
from threeages.telemetry import SWITCHES, was_too_late


def check_telemetry() -> Iterator[Finding]:
    """Whether both switches are set, and were set before anything loaded ONNX Runtime."""
    values = {name: os.environ.get(name, "") for name in SWITCHES}
    found = ", ".join(f"{name}={value or 'not set'}" for name, value in values.items())
    details = {"switches": values, "too_late": was_too_late()}
    if was_too_late():
        advice = f"Import threeages first, or set {SWITCHES[0]}=1 before Python starts."
        text = "ONNX Runtime was imported before threeages could turn its telemetry off"
        yield Finding("telemetry", "warning", text, advice, details)
    elif set(values.values()) != {"1"}:
        advice = f"Set {SWITCHES[0]}=1 before Python starts; something has changed it."
        yield Finding("telemetry", "fault", f"not off: {found}", advice, details)
    else:
        yield Finding("telemetry", "ok", f"off: {found}", details=details)
