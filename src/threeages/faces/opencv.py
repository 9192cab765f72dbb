"""Which of OpenCV's packages is in use: all of them install the same folder, cv2."""

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from threeages.machine import OPENCV

logger = logging.getLogger(__name__)


def find_opencv_packages(folder: Path) -> list[str]:
    """OpenCV's packages whose metadata lies in a folder of packages, such as ['opencv-python'].

    The folder is listed, as importlib.metadata takes 50 ms and more.
    """
    names = {path.name.partition("-")[0].replace("_", "-") for path in folder.glob("opencv_*.dist-info")}
    return [name for name in OPENCV if name in names]


@cache
def warn_of_two_opencv_packages() -> None:
    """Log a warning, once, where several packages of OpenCV are installed over each other.

    The one installed last is in use; removing any of them breaks the others.
    """
    import cv2

    found = find_opencv_packages(Path(cv2.__file__).parents[1])
    if len(found) < 2:
        return
    own = (
        "headless"
        if getattr(getattr(cv2, "version", None), "headless", False)
        else "with windows (cv2.imshow)"
    )
    logger.warning(
        "%s are both installed and write the same folder cv2; the build in use is %s. threeages works with "
        "any one of them. To keep %s: %s",
        " and ".join(found),
        own,
        choose_build(found),
        describe_repair(found),
    )


def choose_build(found: Sequence[str]) -> str:
    """The one to keep of builds that write the same folder: the one that can do more."""
    plain = {"onnxruntime"}  # beside it, a build for another device was installed on purpose
    return next((name for name in found if not name.endswith("-headless") and name not in plain), found[0])


def describe_repair(found: Sequence[str]) -> str:
    """The command that leaves one of several builds that write the same folder."""
    keep = choose_build(found)
    others = " ".join(name for name in found if name != keep)
    return f"pip uninstall -y {others} && pip install --force-reinstall --no-deps {keep}"
