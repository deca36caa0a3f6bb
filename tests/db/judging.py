"""Nights of series and findings, as judging leaves them."""

from datetime import datetime, timedelta

from db.store import Store
from nightbench.figures import Estimate
from nightbench.judge.alert import AlertKind, Finding, Member
from nightbench.judge.series import Metric, NightPoint, SeriesKey
from nightbench.judge.verdict import Change
from nightbench.record import RunFinished, RunStarted
from tests.db.conftest import DAWN

__all__ = ["KEY", "change", "finding", "night_of", "nights_of", "run", "start_of"]

KEY = SeriesKey("smoke", "f" * 32, Metric.THROUGHPUT_RPS)


def run(number: int) -> str:
    return f"night-{number:02}"


def start_of(number: int) -> datetime:
    return DAWN + timedelta(days=number)


def night_of(
    store: Store, number: int, *points: NightPoint, suite: str = "smoke", status: str | None = "completed"
) -> None:
    """One night with these points; ``status`` is ``None`` while it runs."""
    store.ingest([RunStarted(run(number), suite, 7, start_of(number), "2 cpus", {}, "name: smoke\n", 1)])
    if status is not None:
        end = RunFinished(run(number), start_of(number) + timedelta(hours=1), "completed", {})
        store.ingest([end if status == "completed" else RunFinished(end.run_id, end.finished_at, "failed", {})])
    store.put_points(run(number), points)


def nights_of(store: Store, *values: float, first: int = 0) -> None:
    """Completed nights of `KEY`, one a value."""
    for place, value in enumerate(values, first):
        night_of(store, place, NightPoint(KEY, Estimate(value)))


def change(since: str = "night-03", *, key: SeriesKey = KEY) -> Member:
    shift = Change(since, "night-02", 2, Estimate(100.0, 99.0, 101.0), Estimate(90.0, 89.0), 1e-6, True)
    return Member(key, "onnxruntime · resnet50 · throughput", shift, Estimate(0.9, 0.89, 0.91), "c1")


def finding(
    subject: str = "onnxruntime", kind: AlertKind = AlertKind.REGRESSION, members: tuple[Member, ...] = (change(),)
) -> Finding:
    return Finding(
        kind, subject, "onnxruntime is 10 % slower", "in one of one series", members, {"package torch": "1 -> 2"}, 0.1
    )
