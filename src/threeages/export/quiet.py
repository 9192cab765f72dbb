"""Silences the exporters of other packages while they run, and nothing else of the process's logging."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_torch_onnx() -> Iterator[None]:
    """Within it torch's ONNX exporter prints no progress and no warning about its own internals.

    Its logger reports every operator of absent packages; its level is as before afterwards.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def quiet_quantizer() -> Iterator[None]:
    """Within it ONNX Runtime's quantizer gives no advice: it logs to the root logger itself, and prints.

    A logger's filter sees only what is logged to that very logger, so that records of others pass.
    """
    logging.root.addFilter(_is_error)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.root.removeFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
