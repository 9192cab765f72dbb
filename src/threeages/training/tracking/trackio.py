"""trackio: a database in the user's cache, or the server or space that the user's environment names."""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any

from threeages.errors import MissingDependencyError
from threeages.training.tracking.tracker import Description

PROJECT = "threeages"
SPACE, SERVER = "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"


class TrackioTracker:
    """Writes to trackio's folder (TRACKIO_DIR), or where TRACKIO_SPACE_ID or TRACKIO_SERVER_URL says.

    The machine's load, which trackio records unless told otherwise, is not recorded. Raises
    MissingDependencyError where trackio is not installed.
    """

    title = "trackio"

    def __init__(self) -> None:
        try:
            import trackio
            from trackio.utils import TRACKIO_DIR
        except ModuleNotFoundError as error:
            raise MissingDependencyError("trackio", "trackio") from error
        self._library: Any = trackio
        self._folder = str(TRACKIO_DIR)
        self._run: Any = None

    @property
    def place(self) -> str:
        """The space, the server without its token, or the folder."""
        return os.environ.get(SPACE) or os.environ.get(SERVER, "").partition("?")[0] or self._folder

    def create_run(self, about: Description) -> str:
        """A name that no other run has: trackio finds a run by its name."""
        return f"{about.name}-{uuid.uuid4().hex[:8]}"

    def open_run(self, run_id: str, about: Description) -> None:
        """Go on in the run of that name, or begin it."""
        config = {"run_folder": str(about.folder), **about.values}
        with redirect_stdout(StringIO()), _without_hub(self.place == self._folder):
            self._run = self._library.init(
                PROJECT,
                name=run_id,
                config=config,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Give the metrics to trackio, which writes them in a thread of its own."""
        self._run.log(dict(metrics), step=epoch)

    def close(self, *, finished: bool) -> None:
        """Wait until all is written."""
        if self._run is not None:
            with redirect_stdout(StringIO()):  # it speaks of an upload where there is none
                self._library.finish()


@contextmanager
def _without_hub(local: bool) -> Iterator[None]:
    """Keep a local run local: trackio asks the hub for the user's name where it finds a token."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or local
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
