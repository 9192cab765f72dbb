"""torch.compile for a training: the steps compiled where that was asked for and works, all else as ever.

A module is compiled in place, so that the names of its weights, and with them its checkpoints, stay the same.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from threeages.errors import describe_cause
from threeages.training.config import Phase

logger = logging.getLogger(__name__)

BACKEND = "inductor"  # torch's own compiler: by Triton on a GPU, by a C++ compiler on a processor


def compile_steps(task: nn.Module, phase: Phase, device: torch.device) -> None:
    """Compile the forward and backward pass of a phase that trains more than heads.

    The heads alone are too small to gain. Where the compiler is missing, a warning says what is, and the
    steps are as they were.
    """
    if phase.unfreeze == 0:
        return
    problem = _try_compiler(device)
    if problem:
        logger.warning("torch.compile does not work here (%s): the training is not compiled.", problem)
        return
    task.compile(backend=BACKEND)


@contextmanager
def run_uncompiled() -> Iterator[None]:
    """Let modules in the block run as they were written: for an evaluation compiling takes longer."""
    if not hasattr(torch.compiler, "set_stance"):  # of torch 2.6
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _try_compiler(device: torch.device) -> str:
    """Why nothing can be compiled on a device; a module is compiled only at its first call."""
    try:
        torch.compile(lambda x: x.sin() + 1, backend=BACKEND)(torch.zeros(8, device=device))
    except Exception as error:  # torch raises its own classes for a missing Triton, compiler or header
        cause = getattr(error, "inner_exception", error)
        return describe_cause(str(cause).strip().partition("\n")[0] or type(cause).__name__)
    return ""
