"""What one row of results is about: a cell over its rounds, or in one of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dashboards.report.series import setup_key
from dashboards.report.told import Told
from nightbench.figures import Estimate
from nightbench.record import DeploymentRecord, MeasurementRecord
from nightbench.summary import CellSummary, DeploymentSummary, NightSummary, StreamSummary

__all__ = ["Subject", "cells", "rounds"]


@dataclass(frozen=True, slots=True)
class Subject:
    night: NightSummary
    cell: CellSummary
    deployment: DeploymentSummary | None
    """The server's starts: all of them, or the one of the round."""
    image_digest: str
    round: int | None = None
    """``None`` where it is over all rounds."""


def cells(night: NightSummary, told: Told) -> Iterator[Subject]:
    """Every planned cell over its rounds, measured or not."""
    setups = {setup_key(each): each for each in night.deployments}
    digests = {setup_key(start): start.image_digest for start in told.starts}
    for cell in night.cells:
        yield Subject(night, cell, setups.get(setup_key(cell)), digests.get(setup_key(cell), ""))


def rounds(night: NightSummary, told: Told) -> Iterator[Subject]:
    """Every measured round of every cell with its own figures, and every cell of which no round was measured."""
    starts = {start.deployment_id: start for start in told.starts}
    for subject in cells(night, told):
        if not subject.cell.rounds:
            yield subject
        for record in subject.cell.measurements:
            start = starts.get(record.deployment_id)
            setup = subject.deployment
            yield Subject(
                night,
                _in_round(subject.cell, record),
                None if start is None or setup is None else _started(setup, start),
                start.image_digest if start else "",
                record.round,
            )


def _in_round(cell: CellSummary, record: MeasurementRecord) -> CellSummary:
    stream = record.stream
    return replace(
        cell,
        rounds=1,
        planned_rounds=1,
        throughput_rps=record.throughput_rps,
        latency_ns=record.latency_ns,
        service_ns=record.service_ns,
        offered_rps=None if record.offered_rps is None else Estimate(record.offered_rps),
        answer_rps=record.search.answer_rps if record.search else None,
        stream=None
        if stream is None
        else StreamSummary(stream.ttft_ns, stream.itl_ns, stream.tokens_per_s, stream.goodput_rps, stream.slo),
        ended_by={record.ended_by: 1},
        ok=record.ok,
        failed=record.failed,
        outcomes=record.counts,
        doubts=record.doubts,
        histogram=record.histogram,
        measurements=(record,),
        missing=(),
    )


def _started(setup: DeploymentSummary, start: DeploymentRecord) -> DeploymentSummary:
    return replace(
        setup,
        cold_start_ns=_known(start.cold_start_ns),
        model_load_ns=_known(start.model_load_ns),
        rss_bytes=_known(start.rss_bytes),
    )


def _known(value: int | None) -> Estimate | None:
    return None if value is None else Estimate(float(value))
