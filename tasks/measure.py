"""Stage: one cell, timed. Never retried: a repeat would be another measurement."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from launch.process import alive, labels
from loadgen.job import Job, JobResult
from loadgen.run import run_job
from loadgen.telemetry import Telemetry
from nightbench.assess import Assessed, assess
from nightbench.plan import Cell, Replicate
from nightbench.record import Case, MeasurementRecord, Series
from nightbench.samples import Samples
from nightbench.server import Deployment
from nightbench.stopping import Stopped
from tasks.export import Exported
from tasks.missing import record_missing
from tasks.session import Session

__all__ = ["Subject", "measure"]

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Subject:
    """A running deployment and what it serves."""

    replicate: Replicate
    deployment: Deployment
    exported: Exported


def measure(session: Session, subject: Subject, cell: Cell) -> MeasurementRecord | None:
    """Time one cell and leave its record; ``None`` if it could not be timed, which is on record too."""
    session.check_stop()
    session.progress.doing(f"round {cell.round}: {cell.label}")
    if not alive(subject.deployment):
        record_missing(session, [cell], "deployment_failed", "the server died under an earlier cell")
        return None
    started_at = datetime.now(UTC)
    job = _job(session, subject, cell)
    begun_ns = time.monotonic_ns()
    result, telemetry = _run(session, subject, job)
    if result.error is not None:
        session.ledger.add("measure", time.monotonic_ns() - begun_ns)
        session.progress.note(f"{cell.label} could not be timed: {result.error}")
        record_missing(session, [cell], "measuring_failed", result.error)
        return None
    assessed = _assess(session, subject, job, result, telemetry)
    # A model that the engine hosts is loaded for every cell: part of deploying it.
    session.ledger.add("deploy", result.model_load_ns or 0)
    session.ledger.add("warmup", assessed.warmup_ns)
    session.ledger.add("measure", result.ended_ns - result.started_ns - assessed.warmup_ns)
    record = _record(session, subject, cell, started_at, assessed, telemetry)
    session.record(record)
    session.progress.done(1)
    return record


def _job(session: Session, subject: Subject, cell: Cell) -> Job:
    model = session.catalog.models[cell.setup.export.model]
    timing = session.suite.measure
    samples = session.folder / "samples" / f"{cell.cell_id}.npz"
    samples.parent.mkdir(exist_ok=True)
    in_process = subject.deployment.pid is None
    return Job(
        endpoint=subject.deployment.endpoints[cell.protocol],
        load=cell.load,
        batch=cell.batch,
        inputs=model.inputs,
        outputs=model.outputs,
        pool=subject.exported.pool.path,
        tolerance=model.tolerance,
        duration_s=timing.warmup_s + timing.duration_s,
        samples=samples,
        seed=session.suite.seed + cell.round,
        timeout_s=timing.timeout_s,
        # In-process the engine is the server, so it runs where servers run.
        cpus=session.place.server if in_process else session.place.client,
    )


def _run(session: Session, subject: Subject, job: Job) -> tuple[JobResult, tuple[Series, ...]]:
    deployment = subject.deployment
    marks = labels(session.run_id, subject.replicate.deployment_id)
    with Telemetry(deployment.pid, deployment.metrics_url) as telemetry:

        def watch(engine_pid: int) -> None:
            telemetry.client_pid = engine_pid

        try:
            result = run_job(job, session.should_stop, marks, on_start=watch, workdir_root=session.workdir)
        except Stopped as stopped:
            raise session.cancelled() from stopped
    return result, telemetry.series(result.started_ns, result.ended_ns)


def _assess(session: Session, subject: Subject, job: Job, result: JobResult, telemetry: tuple[Series, ...]) -> Assessed:
    return assess(
        Samples.load(job.samples),
        job.load,
        started_ns=result.started_ns,
        ended_ns=result.ended_ns,
        min_warmup_ns=int(session.suite.measure.warmup_s * NS_PER_S),
        # In-process the engine's CPU time is the model's.
        client_cpu_ns=None if subject.deployment.pid is None else result.client_cpu_ns,
        verified=result.verified,
        wrong=result.wrong,
        duration_s=job.duration_s,
        foreign_cpu_percent=_mean(telemetry, "foreign_cpu_percent"),
        server_died=not alive(subject.deployment),
        in_process=subject.deployment.pid is None,
    )


def _mean(telemetry: tuple[Series, ...], metric: str) -> float | None:
    values = [value for series in telemetry if series.metric == metric for value in series.values]
    return sum(values) / len(values) if values else None


def _record(
    session: Session,
    subject: Subject,
    cell: Cell,
    started_at: datetime,
    assessed: Assessed,
    telemetry: tuple[Series, ...],
) -> MeasurementRecord:
    return MeasurementRecord(
        run_id=session.run_id,
        cell_id=cell.cell_id,
        round=cell.round,
        deployment_id=subject.replicate.deployment_id,
        case=_case(session, subject, cell),
        started_at=started_at,
        warmup_ns=assessed.warmup_ns,
        measured_ns=assessed.measured_ns,
        counts=assessed.counts,
        offered_rps=assessed.offered_rps,
        throughput_rps=assessed.throughput_rps,
        latency_ns=assessed.latency_ns,
        service_ns=assessed.service_ns,
        lag_ns=assessed.lag_ns,
        histogram=assessed.histogram,
        client_cpu_ns_per_request=assessed.client_cpu_ns_per_request,
        telemetry=telemetry,
        context=_context(session, subject),
        doubts=assessed.doubts,
    )


def _case(session: Session, subject: Subject, cell: Cell) -> Case:
    model = session.catalog.models[cell.setup.export.model]
    return Case(
        model=model.name,
        model_version=model.version,
        artifact_sha256=subject.exported.artifact.sha256,
        format=cell.setup.export.format,
        precision=cell.setup.export.precision,
        server=cell.setup.server,
        options=cell.setup.options_map,
        protocol=cell.protocol,
        batch=cell.batch,
        load=cell.load,
        threads=session.suite.threads,
        hardware=session.hardware,
        version=session.suite.version,
    )


def _context(session: Session, subject: Subject) -> Mapping[str, str]:
    deployment = subject.deployment
    return {**session.context, "server_version": deployment.server_version, "environment": deployment.environment}
