from collections.abc import MutableMapping

import pytest

from threeages.errors import ConfigError
from threeages.training.placement import STARTED, Placement, find_placement

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2",
}  # fmt: skip
SRUN = {
    "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
}  # fmt: skip
MEETING = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "NODE_RANK": "1"}


def test_without_a_word_there_is_one_process() -> None:
    for given in ((None, None), (1, 1)):
        assert find_placement(*given, {}) == Placement()
    assert Placement().size == 1
    assert not Placement().starts


@pytest.mark.parametrize(("environ", "launcher"), [(TORCHRUN, "torchrun"), (SRUN, "srun")])
def test_a_launcher_says_where_the_process_is(environ: dict[str, str], launcher: str) -> None:
    found = find_placement(None, None, dict(environ))
    assert (found.launcher, found.devices, found.nodes, found.rank, found.local_rank) == (
        launcher,
        2,
        2,
        3,
        1,
    )
    assert find_placement(2, 2, dict(environ)) == found
    assert not found.starts
    for given, name in (((4, None), "--devices was 4"), ((None, 3), "--nodes was 3")):
        with pytest.raises(ConfigError, match=f"{name}, and {launcher} started 2") as caught:
            find_placement(*given, dict(environ))
        assert "Leave the option out" in caught.value.hint


def test_lightning_is_told_the_tasks_of_the_step() -> None:
    environ: MutableMapping[str, str] = dict(SRUN)
    find_placement(None, None, environ)
    assert (environ["SLURM_NTASKS"], environ["SLURM_NTASKS_PER_NODE"]) == ("4", "2")


def test_a_job_of_slurm_with_one_task_starts_its_own_processes() -> None:
    environ = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}
    assert find_placement(None, None, environ) == Placement()
    assert find_placement(4, None, environ).starts


def test_the_command_starts_processes_which_know_their_place() -> None:
    assert find_placement(4, None, {}) == Placement("own", 4, starts=True)
    assert find_placement(4, None, {STARTED: "2"}) == Placement("own", 4, 1, 2, 2)
    assert find_placement(2, 3, dict(MEETING)) == Placement("own", 2, 3, 2, starts=True)
    assert find_placement(2, 3, {**MEETING, STARTED: "1"}) == Placement("own", 2, 3, 3, 1)


@pytest.mark.parametrize(
    ("devices", "nodes", "environ", "message"),
    [
        (0, None, {}, "--devices was 0"),
        (None, -1, {}, "--nodes was -1"),
        (None, 2, {}, "MASTER_ADDR is not set"),
        (None, 2, {"MASTER_ADDR": "a", "MASTER_PORT": "1"}, "NODE_RANK is not set"),
        (None, 2, {**MEETING, "NODE_RANK": "2"}, "NODE_RANK is 2"),
        (None, None, {**TORCHRUN, "WORLD_SIZE": "5"}, "torchrun started 5 processes"),
        (None, None, {**SRUN, "SLURM_STEP_NUM_TASKS": "5"}, "SLURM started 5 tasks on 2 nodes"),
    ],
)
def test_what_does_not_go_together_is_said(
    devices: int | None, nodes: int | None, environ: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        find_placement(devices, nodes, environ)
    assert caught.value.hint
