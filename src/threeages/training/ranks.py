"""The processes of one training: what each takes of a batch, what they exchange, and whose turn it is."""

import inspect
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, distributed, nn
from torch.distributed import DistError, PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from threeages.errors import ConfigError, DataError, ThreeAgesError, format_count
from threeages.training.heartbeat import MISSED as HEARTBEAT_MISSED
from threeages.training.heartbeat import SECONDS as HEARTBEAT_SECONDS
from threeages.training.heartbeat import Heartbeat
from threeages.training.interfaces import find_interface
from threeages.training.launch import LOST_TEXT, RESUMES
from threeages.training.placement import Placement
from threeages.training.whole_batch import Part, share_batches

ENVIRONMENTS = {"own": LightningEnvironment, "torchrun": TorchElasticEnvironment, "srun": SLURMEnvironment}
POLL_SECONDS = 0.1
# what torch's and gloo's errors say where another process is gone
WORDS = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "tcpstore", "socket")
T = TypeVar("T")


class LostError(ThreeAgesError):
    """Another process of the training ended; it, or who started it, says why."""


class Ranks:
    """The processes of a training as one of them sees them; alone, methods return what they are given."""

    def __init__(self, placement: Placement | None = None) -> None:
        self.placement = placement or Placement()
        self.rank, self.size = self.placement.rank, self.placement.size
        self.is_main = self.rank == 0  # the one that writes
        self._turns = 0
        self._part = Part()
        self._fabric = self.create_fabric() if self.size > 1 else None
        self._store: Any = open_store(self.placement) if self.size > 1 else None

    def create_fabric(self, precision: Any = "32-true") -> Fabric:
        """Lightning Fabric on the device of this process."""
        placement = self.placement
        if placement.size == 1:
            return Fabric(accelerator="auto", devices=1, precision=precision)
        _check_devices(placement)
        fabric = Fabric(
            accelerator="cuda" if torch.cuda.is_available() else "cpu",
            devices=placement.devices,
            num_nodes=placement.nodes,
            strategy=_create_strategy(),
            plugins=ENVIRONMENTS[placement.launcher](),
            precision=precision,
        )
        fabric.launch()
        return fabric

    def share_batches(self, network: nn.Module) -> None:
        """Make the layers of a network that know a whole batch work on the parts of all processes."""
        if self.size > 1:
            share_batches(network, self._part)

    def take(self, rows: int) -> slice:
        """The part of a number of rows that is this process's: in order, of sizes at most 1 apart.

        Where there are fewer rows than processes, the last ones get the last row and nothing of it counts:
        torch's convolutions cannot train on none.
        """
        if self.size == 1:
            return slice(None)
        counts = self._count(rows)
        start = sum(counts[: self.rank])
        self._part.start, self._part.stop, self._part.total = start, start + counts[self.rank], rows
        return slice(min(start, rows - 1), start + max(counts[self.rank], 1))

    def gather(self, outputs: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
        """Outputs `(rows, k)` by name of all processes' parts, in order; the own ones keep their gradient."""
        if self._fabric is None:
            return dict(outputs)
        flat = [values.flatten(1) for values in outputs.values()]
        own = torch.cat([values.float() if values.dtype.itemsize < 4 else values for values in flat], dim=1)
        widths = [values.shape[1] for values in flat]
        columns = torch.split(torch.cat(self._exchange(own, rows)), widths, dim=1)
        return {
            name: column.reshape(rows, *values.shape[1:])
            for (name, values), column in zip(outputs.items(), columns, strict=True)
        }

    def _exchange(self, own: Tensor, rows: int) -> list[Tensor]:
        """Every process's part `(n, k)` of all rows; the one given is this process's."""
        assert self._fabric is not None
        counts = self._count(rows)
        padded = torch.zeros((counts[0], own.shape[1]), dtype=own.dtype, device=self._fabric.device)
        padded[: len(own)] = own.detach()[: counts[0]]
        found = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(found, padded)
        parts = [part[:count].to(own.device) for part, count in zip(found, counts, strict=True)]
        parts[self.rank] = own[: counts[self.rank]]
        return parts

    def backward(self, fabric: Fabric, loss: Tensor, idle: Mapping[str, Tensor], heads: Any) -> None:
        """The gradients of a loss of the whole batch, in every process those of all its rows.

        `idle` are the outputs that the loss leaves out, as no row has a label for them: their heads get no
        gradient, though DDP waits for one from every weight.
        """
        if self.size == 1:
            fabric.backward(loss)
            return
        # DDP takes the mean over the processes, of which each adds the gradient of its own rows
        fabric.backward(loss * self.size + sum(0 * values.sum() for values in idle.values()))
        for name in idle:
            heads[name].zero_grad(set_to_none=True)

    def broadcast(self, value: T) -> T:
        """The first process's value, in all."""
        return value if self._fabric is None else self._fabric.broadcast(value)

    def check_same(self, data: Mapping[str, Any]) -> None:
        """Raise DataError where this process's digests of the data are not those of the first."""
        if first := [name for name, value in self.broadcast(dict(data)).items() if data.get(name) != value]:
            raise DataError(
                f"Process {self.rank + 1} of {self.size} has other data than the first: {', '.join(first)}.",
                hint="Give every machine the same manifest and files.",
            )

    @contextmanager
    def in_turns(self) -> Iterator[None]:
        """The block in the first process, then in one of each other machine, then in the rest.

        The first builds what lies in caches, a machine without the same disk builds it once, all others
        open it. An error ends the training.
        """
        self._turns += 1
        turn = 0 if self.is_main else 1 if self.placement.local_rank == 0 else 2
        for before, count in ((0, 1), (1, self.placement.nodes - 1)):
            if before < turn:
                self._wait(f"turn/{self._turns}/{before}", count)
        yield
        if self.size > 1:
            self._store.add(f"turn/{self._turns}/{turn}", 1)

    def claim(self, error: ThreeAgesError) -> bool:
        """Whether this process is the one to say what ended them all."""
        if isinstance(error, LostError):  # one that starts processes itself knows which one was lost
            return self.placement.launcher != "own" and self.placement.local_rank == 0
        try:
            return bool(self._store.add("errors", 1) == 1)
        except RuntimeError:  # the store is gone with the first process
            return True

    def close(self, heartbeat: Heartbeat) -> None:
        """Wait for the others; the first process ends last, as the store goes with it."""
        self._store.add("ended", 1)
        self._wait("ended", self.size)
        heartbeat.stop()
        if self.is_main:
            self._wait("left", self.size - 1)
        else:
            self._store.add("left", 1)
        distributed.destroy_process_group()

    def _wait(self, key: str, count: int) -> None:
        while self._store.add(key, 0) < count:
            time.sleep(POLL_SECONDS)

    def _count(self, rows: int) -> list[int]:
        """How many of the rows each process has."""
        return [rows // self.size + (rank < rows % self.size) for rank in range(self.size)]


@contextmanager
def open_ranks(placement: Placement, on_lost: Callable[[ThreeAgesError], None]) -> Iterator[Ranks]:
    """Meet the other processes, watch them in the block, and wait for them at its end.

    `on_lost`, called in a thread, is to end this process: one of the others answers no more. Raises LostError
    where an exchange with another one fails, and ConfigError where this machine has too few GPUs.
    """
    if placement.size == 1:
        yield Ranks(placement)
        return
    _choose_interface(placement)
    heartbeat = Heartbeat(
        lambda: open_store(placement),
        placement.rank,
        placement.size,
        lambda rank: on_lost(_describe_lost(rank, placement.size)),
    )
    heartbeat.start()
    try:
        ranks = Ranks(placement)
        yield ranks
        ranks.close(heartbeat)
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        raise LostError(LOST_TEXT[0], hint=LOST_TEXT[1]) from error


def open_store(placement: Placement) -> Any:
    """A connection to the store by which torch's processes meet; it waits until the first one has started."""
    environment = ENVIRONMENTS[placement.launcher]()
    store = TCPStore(environment.main_address, environment.main_port, is_master=False)
    # torchrun's store outlives a restart of its processes
    return PrefixStore(f"threeages-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def _choose_interface(placement: Placement) -> None:
    """Let gloo speak from the interface that leads to the first process.

    By itself it takes that of the host's name, which on many machines is the loopback.
    """
    found = find_interface(ENVIRONMENTS[placement.launcher]().main_address)
    if found:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", found)


def _describe_lost(rank: int, size: int) -> ThreeAgesError:
    if rank < 0:
        return LostError(LOST_TEXT[0], hint=LOST_TEXT[1])
    seconds = HEARTBEAT_SECONDS * HEARTBEAT_MISSED
    return ThreeAgesError(
        f"Process {rank + 1} of {size} has not answered for {seconds:.0f} seconds, and the training ended "
        "with it.",
        hint=RESUMES,
    )


def _check_devices(placement: Placement) -> None:
    found = torch.cuda.device_count()
    if placement.devices > found > 0:
        raise ConfigError(
            f"--devices was {placement.devices}; this machine has {format_count(found, 'GPU')}.",
            hint=f"Give --devices {found}.",
        )


def _create_strategy() -> DDPStrategy:
    """DDP that leaves the statistics of batch norm alone: they are the same in every process already."""
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {name: False, "gradient_as_bucket_view": True}  # a copy less
    return DDPStrategy(**options)


def _is_lost(error: RuntimeError) -> bool:
    """Whether an error is that of an exchange with a process that is gone."""
    text = str(error).lower()
    return isinstance(error, DistError) or any(word in text for word in WORDS)
