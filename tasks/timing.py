"""One load on a running deployment, timed and judged; a cell is one of these, a search several."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from launch.process import alive, labels
from loadgen.job import Job, JobResult
from loadgen.run import run_job
from loadgen.telemetry import Telemetry
from nightbench.assess import Assessed, assess
from nightbench.errors import NightbenchError
from nightbench.figures import Doubt, SearchStep, Series, StreamFigures
from nightbench.load import Step, sharing
from nightbench.parity import tolerance_at
from nightbench.plan import Cell
from nightbench.samples import Marks, Samples
from nightbench.stopping import Stopped
from nightbench.streaming import stream_figures
from nightbench.witness import Witness
from tasks.parity import keep
from tasks.session import Session
from tasks.subject import Subject

__all__ = ["Timed", "Untimed", "time_load"]

NS_PER_S = 1_000_000_000


class Untimed(NightbenchError):
    """The load engine has no samples, and why."""


@dataclass(frozen=True, slots=True)
class Timed:
    """What came of one load."""

    load: Step
    started_at: datetime
    result: JobResult
    assessed: Assessed
    telemetry: tuple[Series, ...]
    doubts: tuple[Doubt, ...]
    """Of the figures of streams too."""
    stream: StreamFigures | None = None

    @property
    def step(self) -> SearchStep:
        """What a search may know of it."""
        counts = self.assessed.counts
        return SearchStep(
            load=self.load,
            throughput_rps=self.assessed.throughput_rps,
            latency_ns=self.assessed.latency_ns,
            failed=sum(counts.values()) - counts.get("ok", 0),
            ended_by=self.result.ended_by,
            doubts=self.doubts,
        )


def time_load(session: Session, subject: Subject, cell: Cell, load: Step) -> Timed:
    """Send ``load`` and judge what comes back; charges the time to the ledger.

    Raises:
        Untimed: the engine could not measure.
        Cancelled: the run was asked to stop.
    """
    started_at, begun_ns = datetime.now(UTC), time.monotonic_ns()
    job = _job(session, subject, cell, load)
    result, telemetry = _run(session, subject, job)
    if result.parity:
        keep(session, subject, cell.protocol, cell.batch, result.parity)
    if result.error is not None:
        session.ledger.add("measure", time.monotonic_ns() - begun_ns)
        raise Untimed(result.error)
    samples = Samples.load(job.samples)
    assessed = _assess(session, subject, job, result, samples, telemetry)
    # A model that the engine hosts is loaded for every cell: part of deploying it.
    session.ledger.add("deploy", result.model_load_ns or 0)
    session.ledger.add("warmup", assessed.warmup_ns)
    session.ledger.add("measure", result.ended_ns - result.started_ns - assessed.warmup_ns)
    window = _window(result, assessed)
    marks = Marks.load(job.samples)
    stream, doubts = (
        (None, ()) if marks is None else stream_figures(samples, marks, *window, session.suite.measure.stream_slo)
    )
    return Timed(load, started_at, result, assessed, telemetry.series(*window), (*assessed.doubts, *doubts), stream)


def _window(result: JobResult, assessed: Assessed) -> tuple[int, int]:
    """What was measured, on the machine's monotonic clock."""
    start_ns = result.started_ns + assessed.warmup_ns
    return start_ns, start_ns + assessed.measured_ns


def _job(session: Session, subject: Subject, cell: Cell, load: Step) -> Job:
    model = session.catalog.models[cell.setup.export.model]
    timing = session.suite.measure
    samples = session.folder / "samples" / f"{cell.cell_id}.npz"
    try:
        samples.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise Untimed(f"{samples.parent} cannot be made: {error.strerror}") from error
    in_process = subject.deployment.in_process
    return Job(
        endpoint=subject.deployment.endpoints[cell.protocol],
        load=load,
        batch=cell.batch,
        inputs=model.inputs,
        outputs=model.outputs,
        pool=subject.exported.pool.path,
        tolerance=tolerance_at(model, cell.setup.export.precision, cell.setup.export.weights),
        duration_s=timing.warmup_s + timing.duration_s,
        samples=samples,
        seed=session.suite.seed + cell.round,
        timeout_s=timing.timeout_s,
        # In-process the engine is the server, so it runs where servers run.
        cpus=session.place.server if in_process else session.place.client,
        # Nor is a model split over workers.
        workers=1 if in_process else sharing(load, timing.workers),
        precision=timing.half_widths,
        min_warmup_s=timing.warmup_s,
        rehearse=in_process and subject.kind(cell) not in session.known.parity,
        classifier=model.classifier,
    )


def _run(session: Session, subject: Subject, job: Job) -> tuple[JobResult, Telemetry]:
    """Telemetry that was left can still be asked about any part of the run."""
    deployment = subject.deployment
    marks = labels(session.run_id, subject.replicate.deployment_id)
    with Telemetry(
        deployment.pid,
        deployment.metrics_url,
        model=job.endpoint.model or None,
        contained=deployment.container_id is not None,
    ) as telemetry:
        try:
            result = run_job(
                job, session.should_stop, marks, on_start=telemetry.add_client, workdir_root=session.workdir
            )
        except Stopped as stopped:
            raise session.cancelled() from stopped
    return result, telemetry


def _assess(
    session: Session, subject: Subject, job: Job, result: JobResult, samples: Samples, telemetry: Telemetry
) -> Assessed:
    in_process = subject.deployment.in_process
    kind = (job.endpoint.protocol, subject.replicate.setup.export.model, job.batch)
    ceiling = session.known.ceilings.get(kind)
    seen = Witness(
        telemetry=telemetry.series(result.started_ns, result.ended_ns),
        served=telemetry.served(),
        ceiling_rps=None if ceiling is None else ceiling.ceiling_rps.value,
        ceiling_by="client" if ceiling is None else ceiling.ceiling_by,
    )
    return assess(
        samples,
        job.load,
        started_ns=result.started_ns,
        ended_ns=result.ended_ns,
        min_warmup_ns=int(session.suite.measure.warmup_s * NS_PER_S),
        # In-process the engine's CPU time is the model's.
        client_cpu_ns=None if in_process else result.client_cpu_ns,
        verified=result.verified,
        wrong=result.wrong,
        duration_s=job.duration_s,
        server_died=not alive(subject.deployment),
        in_process=in_process,
        ended_by=result.ended_by,
        workers_cpu_ns=() if in_process else result.workers_cpu_ns,
        sending_ended_ns=result.sending_ended_ns,
        connections_short=result.connections_short,
        seen=seen,
    )
