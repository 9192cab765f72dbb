"""Settings of a process that works on images: the library changes none, a program sets them once."""

import os
import sys
import warnings

OPENCV_THREADS = "OPENCV_FOR_THREADS_NUM"  # OpenCV reads it when it is first imported


def configure_process() -> None:
    """Keep OpenCV to one thread and Pillow's warnings off stderr, in this process and those it starts.

    The command line, the service's decoders and the pixel cache spread work over images and not inside one,
    and report a damaged image by its status. OpenCV is not imported for it.
    """
    warnings.filterwarnings("ignore", module="PIL")
    os.environ.setdefault(OPENCV_THREADS, "1")
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(int(os.environ[OPENCV_THREADS]))
