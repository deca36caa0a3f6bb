"""How the API itself is used, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Histogram

__all__ = ["RequestMetrics"]

_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE"})
_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class RequestMetrics:
    """Counts by method, route and status. Routes are templates and unknown methods are one, so that what is asked
    cannot make series without end."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "nightbench_api_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self._duration = Histogram(
            "nightbench_api_request_duration_seconds",
            "From a request's head to the end of its answer.",
            ("method", "route"),
            buckets=_BOUNDS_S,
            registry=registry,
        )

    def note(self, method: str, route: str, status: int, spent_ns: int) -> None:
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._duration.labels(method, route).observe(spent_ns / 1e9)
