import logging
from pathlib import Path

import cv2
import pytest

from threeages.faces import opencv
from threeages.inference.predictor import load_predictor
from threeages.machine import OPENCV, list_versions


def _install(folder: Path, *names: str) -> Path:
    for name in (*names, "opencv_tools", "numpy"):
        (folder / f"{name.replace('-', '_')}-5.0.0.93.dist-info").mkdir(parents=True)
    (folder / "cv2").mkdir()
    return folder


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    opencv.warn_of_two_opencv_packages.cache_clear()
    caplog.set_level(logging.WARNING)
    return caplog


@pytest.mark.parametrize("name", OPENCV)
def test_one_package_is_found_and_is_fine(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    folder = _install(tmp_path, name)
    assert opencv.find_opencv_packages(folder) == [name]
    monkeypatch.setattr(cv2, "__file__", str(folder / "cv2" / "__init__.py"))
    load_predictor()
    assert not warnings.records


def test_two_packages_are_named_once_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    folder = _install(tmp_path, "opencv-python", "opencv-python-headless")
    monkeypatch.setattr(cv2, "__file__", str(folder / "cv2" / "__init__.py"))
    load_predictor()
    load_predictor()
    (record,) = warnings.records
    for part in (
        "opencv-python-headless and opencv-python are both installed",
        "pip uninstall -y opencv-python-headless && pip install --force-reinstall --no-deps opencv-python",
    ):
        assert part in record.getMessage()


def test_the_package_in_use_here_is_found() -> None:
    found = opencv.find_opencv_packages(Path(cv2.__file__).parents[1])
    assert found == list(list_versions(OPENCV))


def test_a_version_is_that_of_the_build_installed() -> None:
    assert list_versions(["no-such-package", "numpy"]).keys() == {"numpy"}
