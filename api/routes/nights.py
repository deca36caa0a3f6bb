"""Runs, measurements and series: what is stored."""

from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Depends, Query

from api.asked import MeasurementQuery, MetricQuery, RunId, RunQuery, SeriesQuery
from api.guard import guarded, services_of
from api.paging import page_of
from api.problems import problems
from api.services import Services
from api.shapes import MetricPoint, Page, RunDeployment, RunDetail, RunMissing
from db.api_reads import MeasurementFilter, RunFilter, SeriesFilter, SeriesNight, StoredMeasurement
from db.query import Night
from nightbench.access import NotFound, Role
from nightbench.errors import UsageError
from nightbench.record import DeploymentRecord, MissingRecord, RunFinished, RunStarted

__all__ = ["router"]

router = guarded(Role.VIEWER)
_Services = Annotated[Services, Depends(services_of)]
_USUAL = timedelta(days=30)


@router.get("/runs", tags=["results"], responses=problems(404))
def runs(asked: Annotated[RunQuery, Query()], services: _Services) -> Page[Night]:
    """The runs, newest first."""
    _in_order(asked)
    wanted = RunFilter(asked.suite, asked.hardware, asked.status, asked.since, asked.until)
    found = services.store.runs_page(wanted, asked.limit + 1, asked.after)
    return page_of(found, asked.limit, lambda night: night.run_id)


@router.get("/runs/{run_id}", tags=["results"], responses=problems(404))
def run(run_id: RunId, services: _Services) -> RunDetail:
    """One run: how it began and ended, every start of a server, and what could not be measured."""
    night = services.store.run(run_id)
    records = services.store.records(run_id, RunStarted, RunFinished, DeploymentRecord, MissingRecord)
    start = next((each for each in records if isinstance(each, RunStarted)), None)
    if start is None:
        raise NotFound(f"run: the beginning of {run_id} is not stored; `nightbench ingest` brings in what is spooled")
    end = next((each for each in records if isinstance(each, RunFinished)), None)
    return RunDetail(
        run=night,
        seed=start.seed,
        context=start.context,
        suite_yaml=start.suite_yaml,
        spent_ns=end.spent_ns if end else {},
        detail=end.detail if end else "",
        deployments=tuple(_deployment(each) for each in records if isinstance(each, DeploymentRecord)),
        missing=tuple(_missing(each) for each in records if isinstance(each, MissingRecord)),
    )


@router.get("/measurements", tags=["results"], responses=problems(404))
def measurements(asked: Annotated[MeasurementQuery, Query()], services: _Services) -> Page[StoredMeasurement]:
    """Measured cells, those of the newest run first, with intervals and doubts."""
    _in_order(asked)
    wanted = MeasurementFilter(**_series(asked), doubted=asked.doubted)
    run_id, _, cell_id = (asked.after or "").partition(":")
    after = (run_id, cell_id) if asked.after else None
    found = services.store.measurements_page(wanted, asked.limit + 1, after)
    return page_of(found, asked.limit, lambda each: f"{each.run_id}:{each.cell_id}")


@router.get("/metrics", tags=["results"], responses=problems(404))
def metrics(asked: Annotated[MetricQuery, Query()], services: _Services) -> Page[MetricPoint]:
    """The judged figures: one a series and night, over the night's rounds, newest night first.

    What Prometheus scrapes is at `/metrics`.
    """
    _in_order(asked)
    wanted = SeriesFilter(**_series(asked), metric=asked.metric)
    run_id, fingerprint, metric = (asked.after or "::").split(":")
    after = (run_id, fingerprint, metric) if asked.after else None
    found = services.store.series_page(wanted, asked.limit + 1, after)
    points = [_point(each) for each in found]
    return page_of(points, asked.limit, lambda each: f"{each.run_id}:{each.fingerprint}:{each.metric}")


def _in_order(asked: RunQuery | SeriesQuery) -> None:
    if asked.since is not None and asked.until is not None and asked.since >= asked.until:
        raise UsageError(f"since: {asked.since.isoformat()} is not before until; swap them or leave one out")


def _series(asked: SeriesQuery) -> dict[str, Any]:
    """The filter's fields. Of all series of all times nobody wants the first page."""
    names = ("suite", "fingerprint", "server", "model", "format", "precision", "protocol", "batch", "until")
    since = asked.since
    if since is None and asked.run is None and asked.fingerprint is None:
        since = (asked.until or datetime.now(UTC)) - _USUAL
    return {**{name: getattr(asked, name) for name in names}, "run_id": asked.run, "since": since}


def _deployment(record: DeploymentRecord) -> RunDeployment:
    return RunDeployment(**{field.name: getattr(record, field.name) for field in fields(RunDeployment)})


def _missing(record: MissingRecord) -> RunMissing:
    named = {field.name: getattr(record, field.name) for field in fields(RunMissing)}
    return RunMissing(**{**named, "load": record.load.label})


def _point(night: SeriesNight) -> MetricPoint:
    return MetricPoint(**asdict(night), better=night.metric.direction)
