import os
import subprocess
import sys

import pytest

SWITCH = "ORT_DISABLE_TELEMETRY"
FAKE = "import sys, types; sys.modules['onnxruntime'] = types.ModuleType('onnxruntime')\n"
CHILD = (
    "import multiprocessing, os\n"
    "import threeages\n"
    "if __name__ == '__main__':\n"
    "    for method in ('spawn', 'forkserver'):\n"
    "        with multiprocessing.get_context(method).Pool(1) as pool:\n"
    f"            print(pool.apply(os.getenv, ['{SWITCH}']))\n"
)


def _run(code: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process in whose environment telemetry is not turned off."""
    kept = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name} | environment
    done = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, env=kept, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("module", ["threeages", "threeages.sessions", "threeages.faces.yunet"])
@pytest.mark.parametrize("value", [None, "0", ""])
def test_every_module_turns_it_off_whatever_was_set(module: str, value: str | None) -> None:
    given = {} if value is None else {SWITCH: value}
    assert _run(f"import {module}, os; print(os.environ['{SWITCH}'])", **given).stdout == "1\n"


def test_the_libraries_that_track_and_share_have_theirs_off() -> None:
    pytest.importorskip("huggingface_hub")
    code = (
        "import threeages, os\n"
        "from huggingface_hub import constants\n"
        "print(constants.HF_HUB_DISABLE_TELEMETRY, os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    )
    assert _run(code).stdout == "True true\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork server on Windows")
def test_processes_that_are_started_have_the_switch() -> None:
    assert _run(CHILD).stdout == "1\n1\n"


def test_a_warning_says_that_it_came_too_late() -> None:
    assert "imported before threeages" in _run(f"{FAKE}import threeages").stderr
    assert _run(f"{FAKE}import threeages", **{SWITCH: "1"}).stderr == ""
    assert _run("import threeages.sessions").stderr == ""


def test_events_end_where_it_came_too_late() -> None:
    code = (
        "import onnxruntime, unittest.mock as mock\n"
        "with mock.patch.object(onnxruntime, 'disable_telemetry_events') as stop:\n"
        "    import threeages.sessions\n"
        "print(stop.call_count)"
    )
    assert _run(code, **{SWITCH: "1"}).stdout == "1\n"
