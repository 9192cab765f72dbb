"""Prometheus metrics of the service: sizes, states and times, nothing about any photo."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from threeages.inference.records import Record

SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.4, 0.6, 1, 2, 5, 10, 30)


class Metrics:
    """The metrics of one service, in a registry of its own: two services in a process share none."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "threeages_requests", "Requests by path and status.", ("path", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "threeages_request_seconds", "From the head of a request to the end of its answer.", ("path",),
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._bytes = Counter("threeages_body_bytes", "Bytes of bodies received.", registry=self.registry)
        self._records = Counter(
            "threeages_records", "Records by status.", ("status",), registry=self.registry
        )
        self.batches = Histogram(
            "threeages_batch_faces", "Faces in one run of the model.", buckets=(0, 1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )  # fmt: skip
        self._waiting = Gauge(
            "threeages_images_in_flight", "Images accepted and not yet answered.", registry=self.registry
        )
        self._restarts = Gauge(
            "threeages_decoder_restarts", "Decoding processes that were replaced.", registry=self.registry
        )

    def watch(self, in_flight: Callable[[], int], restarts: Callable[[], int]) -> None:
        """Read these two whenever `text` is called."""
        self._waiting.set_function(in_flight)
        self._restarts.set_function(restarts)

    def count_request(self, path: str, status: int, seconds: float, size: int) -> None:
        """Count one request that was answered; `size` is the number of bytes of its body."""
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)
        self._bytes.inc(size)

    def count_records(self, records: Sequence[Record]) -> None:
        """Count the records of one request."""
        for record in records:
            self._records.labels(record.status).inc()

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
