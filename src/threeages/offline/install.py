"""Install this bundle without network: python3 install.py [FOLDER]

FOLDER is that of the new environment, threeages-env by default. Nothing but Python is needed, and no index is
asked. The bundle fits the system and the Python that it was made with; its checksums are compared first.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ABOUT, SUMS, WHEELS, MODELS = "bundle.json", "SHA256SUMS", "wheels", "models"
MODEL_PATH = "from threeages.inference.named import LARGE_MODEL; print(LARGE_MODEL.path)"


def main(arguments: list[str]) -> int:
    """Check the bundle, create the environment, install into it, and let the doctor test it."""
    about = json.loads((HERE / ABOUT).read_text(encoding="utf-8"))
    target = Path(arguments[0] if arguments else "threeages-env").absolute()
    fault = find_misfit(about) or find_damage() or find_obstacle(target)
    if fault:
        sys.stderr.write(f"Error: {fault}\n")
        return 2
    programs = target / ("Scripts" if os.name == "nt" else "bin")
    python = programs / ("python.exe" if os.name == "nt" else "python")
    try:
        venv.create(target, with_pip=True, symlinks=os.name != "nt")
    except (OSError, ImportError, subprocess.CalledProcessError) as error:
        sys.stderr.write(
            f"Error: no environment can be made ({error}).\n  On Debian: apt install python3-venv\n"
        )
        return 1
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    pip += ["--find-links", str(HERE / WHEELS), about["requirement"]]
    if subprocess.run(pip, env=clean_environment(), check=False).returncode:
        sys.stderr.write("Error: pip could not install the bundle; its own message stands above.\n")
        return 1
    copy_models(python)
    sys.stdout.write(f"Installed. Checking it with {programs / 'threeages'} doctor:\n")
    sys.stdout.flush()
    return subprocess.run(
        [str(python), "-m", "threeages.doctor"], env=clean_environment(), check=False
    ).returncode


def describe_platform() -> dict[str, str]:
    """What a bundle must have been made with to fit: the Python, the system and the processor."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "processor": platform.machine(),
    }


def find_misfit(about: dict[str, str]) -> str:
    """How this machine is another kind than the bundle was made for; '' where it fits."""
    here = describe_platform()
    other = [f"{name} {about[name]} (here: {value})" for name, value in here.items() if about[name] != value]
    return f"This bundle is for {', '.join(other)}. Make one with that." if other else ""


def find_damage() -> str:
    """The file of the bundle that is not as it was written; '' where all are."""
    for line in (HERE / SUMS).read_text(encoding="utf-8").splitlines():
        expected, _, name = line.partition("  ")
        try:
            with (HERE / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}. Copy the bundle again."
        if found != expected:
            return f"{name} is damaged. Copy the bundle again."
    return ""


def find_obstacle(target: Path) -> str:
    """What is in the way of the environment; '' where nothing is."""
    if target.is_dir() and any(target.iterdir()):
        return f"{target} is not empty. Name another folder: python3 install.py FOLDER"
    return f"{target} is a file. Name another folder." if target.is_file() else ""


def copy_models(python: Path) -> None:
    """Put the models of the bundle where the package looks for them; one that is there stays."""
    for model in sorted((HERE / MODELS).glob("*.onnx")):
        command = [str(python), "-c", MODEL_PATH]
        said = subprocess.run(command, env=clean_environment(), stdout=subprocess.PIPE, text=True, check=True)
        path = Path(said.stdout.strip())
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(model, path)


def clean_environment() -> dict[str, str]:
    """The environment without settings of Python and pip, which could bring in other packages or an index."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    return kept | {"PIP_CONFIG_FILE": os.devnull}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
