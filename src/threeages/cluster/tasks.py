"""Calls of functions on a Ray cluster; one whose worker or machine is lost is made again elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from threeages.errors import DataError, ThreeAgesError, describe_cause

RETRIES = 5  # of one call, where its worker is lost
T = TypeVar("T")


@dataclass(frozen=True)
class RayFuture(Generic[T]):
    """A call that was submitted."""

    ray: Any
    reference: Any

    def result(self) -> T:
        """What the call returned; raises what it raised, and DataError where its workers are always lost."""
        try:
            found: T = self.ray.get(self.reference)
            return found
        except self.ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, ThreeAgesError) else error from None
        except self.ray.exceptions.RayError as error:
            raise DataError(
                f"The cluster lost {RETRIES + 1} workers with the same task: {describe_cause(error)}.",
                hint="Have its machines enough memory? The same command resumes: what was finished is kept.",
            ) from error


@dataclass(frozen=True)
class RayPool:
    """Submits calls as `concurrent.futures` does; each takes `cores` of a machine."""

    ray: Any
    cores: int
    _given: list[Any] = field(default_factory=list)

    def submit(self, fn: Callable[..., T], /, *args: Any) -> RayFuture[T]:
        """Submit a call of a function that every machine can import; its arguments are pickled."""
        task = self.ray.remote(fn).options(num_cpus=self.cores, max_retries=RETRIES)
        reference = task.remote(*args)
        self._given.append(reference)
        return RayFuture(self.ray, reference)

    def cancel(self) -> None:
        """End every call that was submitted and has not ended."""
        for reference in self._given:
            self.ray.cancel(reference, force=True)


@contextmanager
def open_pool(ray: Any, calls: int) -> Iterator[RayPool]:
    """A pool for `calls` at a time, which share the cluster's cores; an exception in the block ends them."""
    machines = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    share = int(min(sum(machines) // calls, max(machines, default=1)))
    pool = RayPool(ray, max(1, share))
    try:
        yield pool
    except BaseException:
        pool.cancel()
        raise
