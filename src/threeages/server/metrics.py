"""Prometheus figures of the service: sizes, states and times, nothing of any photo."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from threeages.inference.records import Record

SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.4, 0.6, 1, 2, 5, 10, 30)


class Metrics:
    """One registry a service, so that two in one process do not share figures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "threeages_requests", "Requests by path and status.", ("path", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "threeages_request_seconds", "From the request's head to the answer's end.", ("path",),
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._bytes = Counter("threeages_body_bytes", "Bytes of bodies received.", registry=self.registry)
        self._records = Counter(
            "threeages_records", "Answers by status.", ("status",), registry=self.registry
        )
        self.batches = Histogram(
            "threeages_batch_faces", "Faces in one call of the model.", buckets=(0, 1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )  # fmt: skip
        self._waiting = Gauge(
            "threeages_images_in_flight", "Images taken, not yet answered.", registry=self.registry
        )
        self._restarts = Gauge(
            "threeages_decoder_restarts", "Decoding processes that were replaced.", registry=self.registry
        )

    def watch(self, in_flight: Callable[[], int], restarts: Callable[[], int]) -> None:
        """Read these two whenever the figures are asked for."""
        self._waiting.set_function(in_flight)
        self._restarts.set_function(restarts)

    def count_request(self, path: str, status: int, seconds: float, size: int) -> None:
        """One request that was answered."""
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)
        self._bytes.inc(size)

    def count_records(self, records: Sequence[Record]) -> None:
        """The answers of one request."""
        for record in records:
            self._records.labels(record.status).inc()

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
