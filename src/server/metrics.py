"""The metrics that Prometheus scrapes at /metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
PICTURES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Metrics of one server in a registry of its own. Labels are bounded: routes, statuses, error codes."""

    def __init__(self):
        self.registry = registry = CollectorRegistry()
        self._requests = Counter("serve_requests", "Requests answered.", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "serve_request_seconds", "From request to response.", ["route"], buckets=SECONDS, registry=registry
        )
        self.errors = Counter("serve_rejects", "Error responses by code.", ["reason"], registry=registry)
        self.batches = Histogram(
            "serve_batch_pictures", "Pictures classified together.", buckets=PICTURES, registry=registry
        )
        self.waiting = Gauge("serve_queue_depth", "Pictures waiting.", registry=registry)
        self.in_flight = Gauge("serve_in_flight", "Pictures being classified.", registry=registry)
        self.ready = Gauge("serve_ready", "Whether /readyz answers 200.", registry=registry)
        self.reloads = Counter("serve_reloads", "Reloads by SIGHUP.", ["result"], registry=registry)
        self.model = Gauge("serve_model_info", "The network served.", ["sha256", "engine"], registry=registry)
        self._children: dict[tuple[str, int], tuple] = {}  # looked up once: labels() takes a lock

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        children = self._children.get((route, status))
        if children is None:
            children = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._children[route, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def request_counts(self) -> dict[str, int]:
        """Requests answered by route and status, such as {"/predict 200": 12}."""
        (family,) = self._requests.collect()
        totals = [sample for sample in family.samples if sample.name == "serve_requests_total"]
        return {"{route} {status}".format(**sample.labels): int(sample.value) for sample in totals}
