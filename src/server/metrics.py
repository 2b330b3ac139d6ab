"""What Prometheus reads at /metrics."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
PICTURES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Counters of one server in a registry of their own. Labels are bounded: routes, statuses, codes of errors."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self):
        self.registry = registry = CollectorRegistry()
        self._requests = Counter("serve_requests", "Answered requests.", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "serve_request_seconds",
            "From a request to its answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._rejects = Counter("serve_rejects", "Refused requests, by their code.", ["reason"], registry=registry)
        self._batch = Histogram(
            "serve_batch_pictures", "Pictures that were read in one go.", buckets=PICTURES, registry=registry
        )
        self._waiting = Gauge("serve_queue_depth", "Pictures that wait.", registry=registry)
        self._working = Gauge("serve_in_flight", "Pictures that are being read.", registry=registry)
        self._ready = Gauge("serve_ready", "Whether /readyz says 200.", registry=registry)
        self._reloads = Counter("serve_reloads", "Networks taken on SIGHUP, or refused.", ["result"], registry=registry)
        self._model = Gauge("serve_model_info", "The network that answers.", ["sha256", "engine"], registry=registry)
        self._known: dict[tuple[str, int], tuple] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """One more request."""
        known = self._known.get((route, status))
        if known is None:
            known = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._known[route, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def refused(self, reason: str) -> None:
        """One more error, by its code."""
        self._rejects.labels(reason).inc()

    def batched(self, pictures: int) -> None:
        """One more batch."""
        self._batch.observe(pictures)

    def reloaded(self, taken: bool) -> None:
        """One more SIGHUP."""
        self._reloads.labels("taken" if taken else "refused").inc()

    def named(self, sha256: str, engine: str) -> None:
        """The network that answers from now on."""
        self._model.clear()
        self._model.labels(sha256, engine).set(1)

    def watch(self, waiting: Callable[[], int], working: Callable[[], int], ready: Callable[[], bool]) -> None:
        """Where gauges are read from when they are asked for."""
        self._waiting.set_function(waiting)
        self._working.set_function(working)
        self._ready.set_function(ready)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def counts(self) -> dict[str, int]:
        """Answered requests by route and status, such as {"/predict 200": 12}."""
        counted = {}
        for route, status in self._known:
            labels = {"route": route, "status": str(status)}
            counted[f"{route} {status}"] = int(self.registry.get_sample_value("serve_requests_total", labels))
        return counted
