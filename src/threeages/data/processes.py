"""Processes that share work on images."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from threeages.faces.process import configure_process


def start_processes(number: int, module: str) -> ProcessPoolExecutor:
    """So many, for functions of the module of this name; what that imports is imported once, not by each.

    From a server, not by a fork: who calls may hold threads of onnxruntime or torch.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([module])
    return ProcessPoolExecutor(number, mp_context=context, initializer=configure_process)
