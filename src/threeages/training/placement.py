"""Which process of a training this one is, by the options and by who started it.

Imports nothing heavy: a process that only starts the others needs no torch.
"""

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Literal

from threeages.errors import ConfigError

STARTED = "THREEAGES_STARTED_RANK"  # in the environment of the processes that training.launch starts
ADDRESS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")  # of Lightning and torch, where nobody starts machines
ADDRESS_HINT = (
    "Set MASTER_ADDR and MASTER_PORT to a free port of the first machine, and NODE_RANK to the number of "
    "each machine from 0; or start with torchrun or srun."
)

Launcher = Literal["none", "own", "torchrun", "srun"]


@dataclass(frozen=True)
class Placement:
    """The processes of a training: `devices` on each of `nodes` machines; `rank` is this one of them."""

    launcher: Launcher = "none"
    devices: int = 1
    nodes: int = 1
    rank: int = 0
    local_rank: int = 0
    starts: bool = False  # this process is none of them: it starts those of its machine

    @property
    def size(self) -> int:
        """How many processes there are on all machines."""
        return self.devices * self.nodes


def find_placement(
    devices: int | None = None,
    nodes: int | None = None,
    environ: MutableMapping[str, str] = os.environ,
) -> Placement:
    """The placement of this process by the number of processes a machine and of machines, where given.

    torchrun and srun say both themselves. Raises ConfigError where the numbers given are others, or where
    several machines have no address to meet at.
    """
    for name, number in (("--devices", devices), ("--nodes", nodes)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} was {number}.", hint="Give 1 or more.")
    if "TORCHELASTIC_RUN_ID" in environ:
        return _check(_read_torchrun(environ), devices, nodes)
    if int(environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return _check(_read_srun(environ), devices, nodes)
    return _plan(devices or 1, nodes or 1, environ)


def _read_torchrun(environ: Mapping[str, str]) -> Placement:
    rank, local_rank, size, devices = (
        int(environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    )
    if size % devices:
        raise ConfigError(
            f"torchrun started {size} processes, of which {devices} are on this machine.",
            hint="Start the same number on every machine.",
        )
    return Placement("torchrun", devices, size // devices, rank, local_rank)


def _read_srun(environ: MutableMapping[str, str]) -> Placement:
    tasks, nodes = int(environ["SLURM_STEP_NUM_TASKS"]), int(environ.get("SLURM_NNODES", "1"))
    if tasks % nodes:
        raise ConfigError(
            f"SLURM started {tasks} tasks on {nodes} nodes.",
            hint="Give srun as many tasks for each node.",
        )
    environ["SLURM_NTASKS"] = str(tasks)  # what Lightning reads; the job may have more than the step
    environ.setdefault("SLURM_NTASKS_PER_NODE", str(tasks // nodes))
    rank, local_rank = int(environ["SLURM_PROCID"]), int(environ["SLURM_LOCALID"])
    return Placement("srun", tasks // nodes, nodes, rank, local_rank)


def _check(found: Placement, devices: int | None, nodes: int | None) -> Placement:
    for name, given, there in (("--devices", devices, found.devices), ("--nodes", nodes, found.nodes)):
        if given not in {None, there}:
            raise ConfigError(
                f"{name} was {given}, and {found.launcher} started {there}.", hint="Leave the option out."
            )
    return found


def _plan(devices: int, nodes: int, environ: Mapping[str, str]) -> Placement:
    """The placement where threeages itself starts the processes of a machine."""
    if devices * nodes == 1:
        return Placement()
    if nodes > 1 and (missing := [name for name in ADDRESS if not environ.get(name)]):
        raise ConfigError(f"--nodes was {nodes}; {missing[0]} is not set.", hint=ADDRESS_HINT)
    node = int(environ["NODE_RANK"]) if nodes > 1 else 0
    if not 0 <= node < nodes:
        raise ConfigError(f"NODE_RANK is {node}, --nodes was {nodes}.", hint=ADDRESS_HINT)
    if STARTED not in environ:
        return Placement("own", devices, nodes, rank=node * devices, starts=True)
    local_rank = int(environ[STARTED])
    return Placement("own", devices, nodes, node * devices + local_rank, local_rank)
