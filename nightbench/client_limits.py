"""What a night says of the client itself: its limits against servers that do nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nightbench.figures import Estimate
from nightbench.record import CalibrationRecord
from nightbench.server import Protocol
from nightbench.stats.combine import combine

__all__ = ["CalibrationSummary", "calibrations_of"]


@dataclass(frozen=True, slots=True)
class CalibrationSummary:
    """What the client itself can do with one kind of request, over the night."""

    protocol: Protocol
    model: str
    batch: int
    request_bytes: int
    response_bytes: int
    times: int
    ceiling_rps: Estimate | None
    at_least: bool
    """Whether the server was the busier one at some ceiling, so that the client may reach more."""
    floor_ns: Mapping[str, Estimate]
    client_cpu_ns_per_request: Estimate | None
    failures: tuple[CalibrationRecord, ...]


def calibrations_of(records: Iterable[CalibrationRecord]) -> tuple[CalibrationSummary, ...]:
    """Each kind of request once, over the night, by protocol, model and batch size. A canary's model is empty."""
    groups: dict[tuple[Protocol, str, int], list[CalibrationRecord]] = {}
    # A spool may hold a record twice.
    once = {(each.round, each.protocol, each.model, each.batch, each.started_at): each for each in records}
    for record in once.values():
        groups.setdefault((record.protocol, record.model, record.batch), []).append(record)
    return tuple(_calibration(groups[key]) for key in sorted(groups))


def _calibration(group: Sequence[CalibrationRecord]) -> CalibrationSummary:
    """One kind of request over its repetitions; failed attempts have no figures."""
    worked = [record for record in group if record.failure is None]
    names = [name for name in worked[0].floor_ns if all(name in record.floor_ns for record in worked)] if worked else []
    cpu = [Estimate(record.client_cpu_ns_per_request) for record in worked]
    return CalibrationSummary(
        protocol=group[0].protocol,
        model=group[0].model,
        batch=group[0].batch,
        request_bytes=group[-1].request_bytes,
        response_bytes=group[-1].response_bytes,
        times=len(group),
        ceiling_rps=combine([record.ceiling_rps for record in worked]) if worked else None,
        at_least=any(record.ceiling_by == "server" for record in worked),
        floor_ns={name: combine([record.floor_ns[name] for record in worked]) for name in names},
        client_cpu_ns_per_request=combine(cpu) if cpu else None,
        failures=tuple(record for record in group if record.failure is not None),
    )
