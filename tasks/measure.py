"""Stage: one cell. Never retried: a repeat would be another measurement."""

from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from launch.process import alive
from loadgen.seek import seek
from nightbench.figures import SearchFigures
from nightbench.load import ClosedLoop, OpenLoop, PeakShare, Search, Step
from nightbench.plan import Cell
from nightbench.record import Case, MeasurementRecord
from nightbench.search import search_open
from tasks.calibrate import canary_doubts
from tasks.export import Exported
from tasks.launching import contained
from tasks.missing import record_missing, why_untimed
from tasks.session import Peak, Session, planned_name
from tasks.subject import Subject
from tasks.timing import Timed, Untimed, time_load

__all__ = ["case_of", "measure"]


def measure(session: Session, subject: Subject, cell: Cell) -> MeasurementRecord | None:
    """Time one cell and leave its record; ``None`` if it could not be timed, which is on record too."""
    session.check_stop()
    session.progress.doing(f"round {cell.round}: {cell.label}")
    if not alive(subject.deployment):
        record_missing(session, [cell], "deployment_failed", "the server died under an earlier cell")
        return None
    if wrong := session.known.parity.get(subject.kind(cell)):
        record_missing(session, [cell], why_untimed(session, subject.kind(cell)), wrong)
        return None
    try:
        timed, search = _timed(session, subject, cell)
    except Untimed as error:
        session.progress.note(f"{cell.label} could not be timed: {error}")
        record_missing(session, [cell], why_untimed(session, subject.kind(cell)), str(error))
        return None
    record = _record(session, subject, cell, timed, search)
    session.record(record)
    session.progress.done(1)
    return record


def _timed(session: Session, subject: Subject, cell: Cell) -> tuple[Timed, SearchFigures | None]:
    """The cell's load, or that step of its search which is the answer."""
    peak = (planned_name(subject.replicate.deployment_id), cell.protocol, cell.batch)
    match cell.load:
        case ClosedLoop() | OpenLoop():
            return time_load(session, subject, cell, cell.load), None
        case PeakShare():
            known = session.known.peaks.get(peak)
            if known is None:
                raise Untimed("the search for the peak, of which this is a share, found none")
            timed = time_load(session, subject, cell, cell.load.at(known.rps))
            # A share of what is not known well is not known better.
            return replace(timed, doubts=(*timed.doubts, *known.doubts)), None
        case Search():
            timed, figures = _sought(session, subject, cell, cell.load)
            found = Peak.of(cell.load, figures)
            if found is not None:
                session.known.peaks[peak] = found
            return timed, figures
        case _:
            assert_never(cell.load)


def _sought(session: Session, subject: Subject, cell: Cell, search: Search) -> tuple[Timed, SearchFigures]:
    """Each step's samples replace those of the one before; the answer's are kept."""
    samples = session.folder / "samples" / f"{cell.cell_id}.npz"
    taken: list[Timed] = []

    def attempt(load: Step) -> Timed:
        session.check_stop()
        session.progress.doing(f"round {cell.round}: {cell.label}, step {len(taken) + 1}: {load.label}")
        taken.append(time_load(session, subject, cell, load))
        samples.replace(samples.with_suffix(f".{len(taken) - 1}"))
        return taken[-1]

    try:
        sought = seek(search, attempt, lambda timed: timed.step)
        samples.with_suffix(f".{sought.figures.chosen}").replace(samples)
    finally:
        for number in range(len(taken)):
            samples.with_suffix(f".{number}").unlink(missing_ok=True)
    return sought.chosen, sought.figures


def _record(
    session: Session, subject: Subject, cell: Cell, timed: Timed, search: SearchFigures | None
) -> MeasurementRecord:
    assessed, result = timed.assessed, timed.result
    return MeasurementRecord(
        run_id=session.run_id,
        cell_id=cell.cell_id,
        round=cell.round,
        deployment_id=subject.replicate.deployment_id,
        case=case_of(session, subject.exported, cell),
        started_at=timed.started_at,
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
        telemetry=timed.telemetry,
        context=_context(session, subject),
        doubts=(*timed.doubts, *canary_doubts(session, cell.round), *(() if search is None else search_open(search))),
        ended_by=result.ended_by,
        pacing=result.pacing,
        hiccups_ns=result.hiccups_ns,
        ceiling_share=assessed.ceiling_share,
        stream=timed.stream,
        search=search,
    )


def case_of(session: Session, exported: Exported, cell: Cell) -> Case:
    """The identity of the series that ``cell`` is a point of."""
    model = session.catalog.models[cell.setup.export.model]
    return Case(
        model=model.name,
        model_version=model.version,
        artifact_sha256=exported.artifact.sha256,
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
        launcher="docker" if contained(session, session.server(cell.setup.server)) else None,
    )


def _context(session: Session, subject: Subject) -> Mapping[str, str]:
    deployment = subject.deployment
    kit = session.known.kits.get(deployment.server)
    own = {"server_version": deployment.server_version, "environment": deployment.environment}
    if deployment.container_id is not None:
        own |= {"image": deployment.image, "image_digest": deployment.image_digest}
        own |= {"network": deployment.limits["network"]}
    return {**session.context, **own, **({"kit": kit} if kit else {})}
