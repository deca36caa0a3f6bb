"""Runs, alerts and the spool for Prometheus: looked up when they are scraped, so that they are never stale.

Times are given as points in time and not as ages, which go on by themselves: the age of the newest good night is
``time() - nightbench_newest_good_run_timestamp_seconds`` (Prometheus, "Instrumentation", "Timestamps, not time since").
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.backlog import Waiting
from api.progress import SpoolWatch
from db.api_reads import GoodNight
from db.api_store import ApiStore
from db.query import Night
from nightbench.errors import NightbenchError

__all__ = ["STATUSES", "RunMetrics"]

STATUSES = ("completed", "failed", "cancelled", "unfinished")
"""``unfinished`` is a run that goes on, or was killed."""


class RunMetrics(Collector):
    """A collector of `prometheus_client`."""

    def __init__(self, store: ApiStore, watch: SpoolWatch, waiting: Waiting) -> None:
        self._store = store
        self._watch = watch
        self._waiting = waiting

    def describe(self) -> Iterator[Metric]:
        """Nothing is known beforehand, and registering must not ask the database."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        yield from self._of_spool()
        try:
            found = [*self._of_nights(), *self._of_alerts()]
        except NightbenchError:
            # The scrape goes on: that the database is away is among what it is for.
            found = []
        yield _gauge("database_up", "Whether the database answered this scrape.", [], [((), float(bool(found)))])
        yield from found

    def _of_nights(self) -> Iterator[Metric]:
        newest = self._store.newest_runs()
        yield _of_suites("last_run_timestamp_seconds", "When the last run began.", newest, lambda n: _at(n.started_at))
        took = "How long the last run took; of one that has no end yet, until now."
        yield _of_suites("last_run_duration_seconds", took, newest, _duration_s)
        status = [
            ((*_place(night), each), float((night.status or "unfinished") == each))
            for night in newest
            for each in STATUSES
        ]
        yield _gauge("last_run_status", "1 for the status of the last run.", [*_PLACE, "status"], status)
        cells = [
            ((*_place(night), state), float(getattr(night, state)))
            for night in newest
            for state in ("planned", "measured", "missing", "doubted")
        ]
        counted = "Cells of the last run; the doubted are among the measured."
        yield _gauge("last_run_cells", counted, [*_PLACE, "state"], cells)
        good = [(_place(night), _at(night.started_at)) for night in self._store.newest_good()]
        help_text = "When the newest run began that completed with every planned cell measured."
        yield _gauge("newest_good_run_timestamp_seconds", help_text, _PLACE, good)

    def _of_alerts(self) -> Iterator[Metric]:
        alerts = [((kind.value,), float(number)) for kind, number in self._store.live_alerts().items()]
        yield _gauge("live_alerts", "Alerts that are open or acknowledged.", ["kind"], alerts)

    def _of_spool(self) -> Iterator[Metric]:
        backlog = self._waiting.backlog()
        yield _gauge(
            "spool_files", "Runs not stored yet, those that go on among them.", [], [((), float(backlog.files))]
        )
        yield _gauge("spool_bytes", "Size of their files.", [], [((), float(backlog.size_bytes))])
        oldest = [((), _at(backlog.oldest_at))] if backlog.oldest_at else []
        left_alone = "When the oldest of them was last written."
        yield _gauge("spool_oldest_timestamp_seconds", left_alone, [], oldest)
        cells = [
            ((run.suite, state), float(getattr(run, state)))
            for run in self._watch.running()
            for state in ("planned", "measured", "missing")
        ]
        yield _gauge("running_cells", "Cells of the runs that go on on this machine.", ["suite", "state"], cells)


def _of_suites(name: str, words: str, nights: Sequence[Night], figure: Callable[[Night], float]) -> Metric:
    return _gauge(name, words, _PLACE, [(_place(night), figure(night)) for night in nights])


_PLACE = ["suite", "hardware"]
"""Each kind of machine has nights of its own."""


def _place(night: Night | GoodNight) -> tuple[str, str]:
    return night.suite, night.hardware


def _at(moment: datetime) -> float:
    return moment.timestamp()


def _duration_s(night: Night) -> float:
    """Never negative: somebody may have set the clock back in between."""
    return max(0.0, ((night.finished_at or datetime.now(UTC)) - night.started_at).total_seconds())


def _gauge(
    name: str, words: str, labels: list[str], samples: Sequence[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"nightbench_{name}", words, labels=labels)
    # Of two runs of one suite that go on at once, the sum.
    summed: dict[tuple[str, ...], float] = {}
    for values, figure in samples:
        summed[values] = summed.get(values, 0.0) + figure
    for values, figure in summed.items():
        family.add_metric(list(values), figure)
    return family
