"""A training's processes on the command line: one of them prints, and one says what went wrong."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from threeages.errors import ThreeAgesError
from threeages.training.launch import LOST, follow_launcher
from threeages.training.placement import Placement

if TYPE_CHECKING:
    from threeages.training.ranks import Ranks


@contextmanager
def join_ranks(placement: Placement) -> Iterator["Ranks"]:
    """The processes of a training, of which this is one, in the block; an error is said once for all."""
    if placement.launcher == "own":
        follow_launcher()
    from threeages.training.ranks import Ranks

    if placement.size == 1:
        yield Ranks(placement)
        return
    _show_own_log(placement)
    ranks: Ranks | None = None
    try:
        ranks = Ranks(placement)
        with ranks.stay_together(lambda error: _leave(error, ranks)):
            yield ranks
    except ThreeAgesError as error:
        # before they have met, every process of a machine finds the same fault
        if placement.local_rank == 0 if ranks is None else ranks.claim(error):
            raise
        raise typer.Exit(LOST) from None


def _show_own_log(placement: Placement) -> None:
    """Let the first process alone log, and Lightning say no more than a warning."""
    import logging

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if placement.rank:
        logging.getLogger("threeages").setLevel(logging.ERROR)


def _leave(error: ThreeAgesError, ranks: "Ranks | None") -> None:
    """End at once, from a thread: the main one may wait for the lost process for ever."""
    claimed = ranks is not None and ranks.claim(error)
    if claimed:
        typer.echo(f"Error: {error}", err=True)
        sys.stderr.flush()
    os._exit(2 if claimed else LOST)
