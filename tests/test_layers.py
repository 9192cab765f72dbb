import subprocess
import sys

import pytest

HEAVY = ("torch", "lightning_fabric", "matplotlib", "sklearn", "onnxruntime")
LIGHT = (
    "threeages",
    "threeages.cli.main",
    "threeages.faces.images",
    "threeages.data.manifest",
    "threeages.data.synthetic",
)


def _loaded(module: str, unwanted: tuple[str, ...]) -> str:
    code = f"import sys, {module}; print(*[m for m in {unwanted!r} if m in sys.modules])"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("module", LIGHT)
def test_starting_up_loads_nothing_heavy(module: str) -> None:
    assert _loaded(module, HEAVY) == ""


@pytest.mark.parametrize(
    "module",
    [
        "inference.predictor",
        "inference.explain",
        "inference.faithfulness",
        "evaluation.sheet",
        "evaluation.evaluate",
        "faces.crop",
        "evaluation.report",
        "data.cache",
        "data.split",
    ],
)
def test_without_training_no_torch_is_loaded(module: str) -> None:
    assert _loaded(f"threeages.{module}", ("torch", "lightning_fabric")) == ""


def test_what_is_loaded_is_seen() -> None:
    assert _loaded("numpy, threeages.faces.images", ("numpy", "PIL", "absent")) == "numpy PIL"
