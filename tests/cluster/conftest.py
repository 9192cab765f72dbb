"""A Ray cluster of a head and two machines, all of them here."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from threeages.cluster.connect import connect_ray, import_ray
from threeages.errors import MissingDependencyError


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """The cluster, to which this process is connected; the two machines have a core each, its head none."""
    try:
        import_ray()  # before anything else does: it switches the usage statistics off
    except MissingDependencyError as error:
        pytest.skip(str(error))
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    handler = signal.getsignal(signal.SIGTERM)
    with connect_ray(made.address):
        assert signal.getsignal(signal.SIGTERM) is handler  # Ray would take it
        yield made
    made.shutdown()  # type: ignore[no-untyped-call]
