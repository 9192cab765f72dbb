"""Processes that share work on images."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from threeages.faces.process import configure_process


def start_processes(number: int, module: str) -> ProcessPoolExecutor:
    """A pool of `number` processes that run functions of the module of this name.

    They come from a fork server, which imports the module once: a plain fork would copy the threads that
    onnxruntime or torch hold in the caller.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([module])
    return ProcessPoolExecutor(number, mp_context=context, initializer=configure_process)
