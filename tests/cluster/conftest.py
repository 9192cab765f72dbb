"""A Ray cluster of three machines, all of them here."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """The cluster, to which this process is connected; it has a core at each of three machines."""
    pytest.importorskip("ray.data", reason="ray is not installed: pip install 'threeages[cluster]'")
    from ray.cluster_utils import Cluster

    from threeages.cluster.connect import connect_ray

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    handler = signal.getsignal(signal.SIGTERM)
    with connect_ray(made.address):
        assert signal.getsignal(signal.SIGTERM) is handler  # Ray would take it
        yield made
    made.shutdown()  # type: ignore[no-untyped-call]
