"""Stage: what the load engine itself can do tonight, kind of request by kind of request, and whether that moves.

A figure near to what the client reaches against a server that does nothing is the client's; and where the client's own
figures move from one round to the next, it was the machine that moved.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from launch.process import labels
from loadgen.calibrate import Calibration, Kind, calibrate
from loadgen.payload import drawn_bodies
from nightbench.calibration import moved_rounds
from nightbench.errors import NightbenchError
from nightbench.figures import Doubt, Estimate, Reason
from nightbench.plan import Export
from nightbench.record import CalibrationRecord
from nightbench.server import Protocol
from nightbench.stopping import Stopped
from tasks.canary import canary_record, machine_canaries
from tasks.export import Exported, Unusable
from tasks.session import Session

__all__ = ["CANARY_BYTES", "calibrate_kinds", "canary", "canary_doubts"]

CANARY_BYTES = 100
"""Of the body that is posted, whatever the night's models are: so it can be compared from night to night as well."""
_BEFORE = 0
"""The round that stands for the time before the first."""
_NOTHING = Calibration(Estimate(0.0), {}, 0.0, 0.0, 0, 0, "client")


def calibrate_kinds(session: Session, exports: Mapping[Export, Exported | Unusable]) -> None:
    """Calibrate every kind of request that the plan will send over a wire, and the canary's."""
    if not session.suite.measure.calibrate:
        return
    for (protocol, name, batch), exported in _kinds(session, exports).items():
        model = session.catalog.models[name]
        record = _calibrated(
            session, Kind(protocol, name, model.inputs, model.outputs, batch, exported.pool.path), _BEFORE
        )
        if record.failure is None:
            session.known.ceilings[protocol, name, batch] = record
    canary(session, _BEFORE)


def canary(session: Session, number: int) -> None:
    """Calibrate one fixed kind at the start of round ``number``, and time fixed work: where they move, the machine did.

    What is calibrated tells rounds apart, and with the fixed work nights.
    """
    if not session.suite.measure.calibrate:
        return
    payload = drawn_bodies(CANARY_BYTES, 0, json=False, distinct=1)
    pool = session.workdir / "canary.npz"
    payload.save(pool)
    kind = Kind(Protocol.OPAQUE_HTTP, "", payload.specs, (), payload.batch, pool, path="/")
    found = _calibrated(session, kind, number)
    session.known.canaries.append(found)
    if number != _BEFORE:
        session.record(canary_record(found))
        machine_canaries(session, number)


def canary_doubts(session: Session, number: int) -> tuple[Doubt, ...]:
    """Whether round ``number`` ran on a machine as fast as the rounds before it."""
    moved = moved_rounds(session.known.canaries, session.known.work).get(number)
    return () if moved is None else (Doubt(Reason.CANARY_MOVED, moved),)


def _kinds(
    session: Session, exports: Mapping[Export, Exported | Unusable]
) -> dict[tuple[Protocol, str, int], Exported]:
    found: dict[tuple[Protocol, str, int], Exported] = {}
    for cell in session.plan.cells:
        exported = exports.get(cell.setup.export)
        if cell.protocol is not Protocol.IN_PROCESS and isinstance(exported, Exported):
            found.setdefault((cell.protocol, cell.setup.export.model, cell.batch), exported)
    return found


def _calibrated(session: Session, kind: Kind, number: int) -> CalibrationRecord:
    """The record, of a failure too: the night goes on, and cells of that kind have no ceiling."""
    session.check_stop()
    session.progress.doing(f"calibrating the client: {kind.protocol} {kind.model} b{kind.batch}")
    started_at = datetime.now(UTC)
    failure: str | None = None
    with session.ledger.span("calibrate"):
        try:
            found = _measured(session, kind)
        except Stopped as stopped:
            raise session.cancelled() from stopped
        except NightbenchError as error:
            found, failure = _NOTHING, str(error)
            session.progress.note(f"{kind.protocol} could not be calibrated: {error}")
    record = CalibrationRecord(
        run_id=session.run_id,
        round=number,
        protocol=kind.protocol,
        model=kind.model,
        batch=kind.batch,
        request_bytes=found.request_bytes,
        response_bytes=found.response_bytes,
        started_at=started_at,
        ceiling_rps=found.ceiling_rps,
        floor_ns=found.floor_ns,
        client_cpu_ns_per_request=found.client_cpu_ns_per_request,
        ceiling_by=found.ceiling_by,
        failure=failure,
    )
    session.record(record)
    return record


def _measured(session: Session, kind: Kind) -> Calibration:
    return calibrate(
        kind,
        client_cpus=session.place.client,
        server_cpus=session.place.server,
        workers=session.suite.measure.workers,
        should_stop=session.should_stop,
        env=labels(session.run_id, "calibration"),
        workdir_root=session.workdir,
    )
