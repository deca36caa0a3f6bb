"""Stage: how fast the machine itself is tonight, by fixed work that no server takes part in.

`tasks.calibrate.canary` compares the rounds of one night; this leaves what nights are compared by.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from export.canary import GPU_CANARY, gpu_products
from launch.process import labels
from loadgen.canary import CANARIES, run_canaries
from nightbench.errors import NightbenchError
from nightbench.figures import Estimate
from nightbench.record import CalibrationRecord, CanaryRecord
from tasks.session import Session

__all__ = ["NULL_REQUEST", "canary_record", "machine_canaries"]

NULL_REQUEST = "null_request"
"""The load engine's own processor time a request, against a server that does nothing."""
_ON_CPU = "cpu"


def machine_canaries(session: Session, number: int) -> None:
    """Leave the records of round ``number``: of the processors that servers run on, and of each GPU.

    One that fails leaves a record of that too, and the night goes on.
    """
    session.check_stop()
    session.progress.doing(f"round {number}: how fast the machine is")
    with session.ledger.span("calibrate"):
        marks = labels(session.run_id, "canary")
        _keep(session, number, CANARIES, _ON_CPU, lambda: _of_cpu(run_canaries(session.place.server, marks)))
        _keep(session, number, (GPU_CANARY,), "gpu0", _of_gpus)


def canary_record(record: CalibrationRecord) -> CanaryRecord:
    """The null server's part: of all that is calibrated the least disturbed by others (`nightbench.calibration`)."""
    cost_ns = None if record.failure is not None else Estimate(record.client_cpu_ns_per_request)
    return CanaryRecord(
        record.run_id, record.round, NULL_REQUEST, _ON_CPU, record.started_at, cost_ns, failure=record.failure
    )


def _of_cpu(found: Mapping[str, Estimate]) -> dict[tuple[str, str], Estimate]:
    return {(canary, _ON_CPU): duration_ns for canary, duration_ns in found.items()}


def _of_gpus() -> dict[tuple[str, str], Estimate]:
    return {(GPU_CANARY, device): duration_ns for device, duration_ns in gpu_products().items()}


def _keep(
    session: Session,
    number: int,
    canaries: tuple[str, ...],
    device: str,
    work: Callable[[], Mapping[tuple[str, str], Estimate]],
) -> None:
    """Record what ``work`` found; or of each of ``canaries`` on ``device`` that it failed."""
    started_at = datetime.now(UTC)
    try:
        found: Mapping[tuple[str, str], Estimate | None] = work()
        failure = None
    except NightbenchError as error:
        found, failure = dict.fromkeys((canary, device) for canary in canaries), str(error)
        session.progress.note(failure)
    for (canary, on), duration_ns in found.items():
        record = CanaryRecord(session.run_id, number, canary, on, started_at, duration_ns, failure)
        session.record(record)
        session.known.work.append(record)
