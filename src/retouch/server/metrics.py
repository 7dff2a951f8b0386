"""What a server counts, for Prometheus: requests, seconds, the queue, pixels."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import Scope

from retouch.server.job_queue import JobQueue

BUCKETS = (0.005, 0.02, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)


class Metrics:
    """The counters of one server.

    Args:
        queue: its queue.
    """

    def __init__(self, queue: JobQueue) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "retouch_requests", "Requests answered.", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "retouch_request_seconds",
            "From the first byte of a request to the last one of its answer.",
            ("route",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.pixels = Counter("retouch_pixels", "Pixels of completed photographs.", registry=self.registry)
        running = Gauge("retouch_running", "Photographs that are being completed.", registry=self.registry)
        running.set_function(lambda: queue.running)
        waiting = Gauge("retouch_queue", "Requests that wait for a worker.", registry=self.registry)
        waiting.set_function(lambda: len(queue.waiting))

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts a request that is over; by route, not by path, which clients choose."""
        route = getattr(scope.get("route"), "path", "other")
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)
