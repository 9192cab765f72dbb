"""Rows of an array on the device that trains: moved there once where they fit, else sent batch by batch."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from threeages.data.split import Rows
from threeages.files.disk import format_bytes

logger = logging.getLogger(__name__)

SHARE = 0.4  # of the device's free memory that rows may take: the rest is for the network and its steps
CHUNK_BYTES = 64 * 2**20  # that are read and moved at a time
ABSENT = -1


@dataclass(frozen=True)
class DeviceRows:
    """Some rows of an array of n: `values` `(k, ...)` on a device, and the `places` `(n,)` of them there."""

    values: Tensor
    places: NDArray[np.int64]

    def select(self, rows: Rows) -> Tensor:
        """The values of some rows, in their order; every one of them must be there."""
        places = self.places[rows]
        assert (places != ABSENT).all(), "a row was not moved to the device"
        return self.values.index_select(0, send(places, self.values.device))


def keep_rows(values: NDArray[Any], rows: Rows, device: torch.device) -> DeviceRows | None:
    """The rows on a CUDA device; None where they take more than SHARE of its free memory, and elsewhere.

    A processor reads them where they are. None too where another process has taken the memory meanwhile.
    """
    if device.type != "cuda":
        return None
    rows = np.unique(rows)
    need, allowed = _row_bytes(values) * len(rows), int(SHARE * _free_memory(device))
    if need > allowed:
        logger.info(
            "The images take %s, the GPU has %s for them: they are sent batch by batch.",
            format_bytes(need),
            format_bytes(allowed),
        )
        return None
    try:
        return move_rows(values, rows, device)
    except torch.cuda.OutOfMemoryError:
        logger.info("The GPU has too little memory for the images: they are sent batch by batch.")
        return None


def move_rows(values: NDArray[Any], rows: Rows, device: torch.device) -> DeviceRows:
    """Some rows, each named once, on a device."""
    moved = torch.empty((len(rows), *values.shape[1:]), dtype=_find_dtype(values), device=device)
    chunk = max(1, CHUNK_BYTES // _row_bytes(values))
    for start in range(0, len(rows), chunk):
        moved[start : start + chunk] = send(values[rows[start : start + chunk]], device)
    places = np.full(len(values), ABSENT, dtype=np.int64)
    places[rows] = np.arange(len(rows))
    return DeviceRows(moved, places)


def read_rows(values: NDArray[Any], kept: DeviceRows | None, rows: Rows, device: torch.device) -> Tensor:
    """Some rows on the device: of those that it keeps, else sent."""
    return send(values[rows], device) if kept is None else kept.select(rows)


def send(values: NDArray[Any], device: torch.device) -> Tensor:
    """An array on a device; to a GPU it is on its way while the caller goes on."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if device.type == "cuda":  # torch keeps the pinned memory until the copy is done
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def mirror_images(images: Tensor, chosen: NDArray[np.bool_]) -> Tensor:
    """Images `(b, h, w, 3)`, the chosen ones mirrored."""
    mask = send(chosen, images.device)[:, None, None, None]
    return torch.where(mask, images.flip(2), images)


def _free_memory(device: torch.device) -> int:
    """Bytes that torch can still give on a CUDA device: those of the device, and what torch keeps unused."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def _row_bytes(values: NDArray[Any]) -> int:
    return values.dtype.itemsize * int(np.prod(values.shape[1:]))


def _find_dtype(values: NDArray[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype=values.dtype)).dtype
