"""A training's processes on the command line: one of them prints, and one says what went wrong."""

import atexit
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
    from threeages.training.ranks import Ranks, open_ranks

    if placement.size == 1:
        yield Ranks(placement)
        return
    _show_own_log(placement)
    met: list[Ranks] = []

    def claims(error: ThreeAgesError) -> bool:
        # before they have met, every process of a machine finds the same fault
        return met[0].claim(error) if met else placement.local_rank == 0

    try:
        with open_ranks(placement, lambda error: _leave(error, claims(error))) as ranks:
            met.append(ranks)
            yield ranks
    except ThreeAgesError as error:
        if not claims(error):
            _end(LOST)
        atexit.register(_end, 2)  # right behind the message, before those that wait for it are ended
        raise


def _show_own_log(placement: Placement) -> None:
    """Let the first process alone log, and Lightning say no more than a warning."""
    import logging

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    logger = logging.getLogger("threeages")
    if placement.rank:
        logger.setLevel(logging.ERROR)
    elif placement.launcher == "own" and placement.nodes > 1:
        logger.info("Waiting for the processes of %d machines.", placement.nodes)


def _leave(error: ThreeAgesError, claimed: bool) -> None:
    """End at once, from a thread: the main one may wait for the lost process for ever."""
    if claimed:
        typer.echo(f"Error: {error}", err=True)
    _end(2 if claimed else LOST)


def _end(code: int) -> None:
    """End without the interpreter's clean-up, in which torch may wait for the others."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
