"""What two runs cannot be compared in, and why: series of different fingerprints are never held against each other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dashboards.report.series import launcher_of, series_names
from nightbench.record import Case
from nightbench.summary import CellSummary, NightSummary

__all__ = ["Unmatched", "unmatched"]


@dataclass(frozen=True, slots=True)
class Unmatched:
    """One reason, and all series of one of the runs that it keeps from being compared."""

    run_id: str
    """The run that measured them."""
    why: str
    series: tuple[str, ...]


def unmatched(before: NightSummary, after: NightSummary) -> tuple[Unmatched, ...]:
    """Measured series that the other run has no equal of, the reasons that most of them share first."""
    names = series_names(before, after)
    groups: dict[tuple[str, str], list[str]] = {}
    for one, other in ((before, after), (after, before)):
        for fingerprint, why in _reasons(one, other):
            groups.setdefault((one.run.run_id, why), []).append(names[fingerprint])
    found = [Unmatched(run_id, why, tuple(sorted(series))) for (run_id, why), series in groups.items()]
    return tuple(sorted(found, key=lambda each: (-len(each.series), each.why, each.run_id)))


def _reasons(one: NightSummary, other: NightSummary) -> Iterator[tuple[str, str]]:
    theirs = {cell.measurements[0].case.fingerprint: cell for cell in other.cells if cell.rounds}
    for cell in one.cells:
        if cell.rounds and (fingerprint := cell.measurements[0].case.fingerprint) not in theirs:
            yield fingerprint, _why(cell, theirs, other)


def _why(cell: CellSummary, theirs: Mapping[str, CellSummary], other: NightSummary) -> str:
    """Of the cells of the other run that ask the same of the same server, the one that differs least says it."""
    planned = [each for each in other.cells if _asks(each) == _asks(cell)]
    likest = min(
        (differing for each in planned if each.rounds and (differing := _differing(cell, each))), key=len, default=None
    )
    if likest is not None:
        return "; ".join(likest)
    if planned and planned[0].missing:
        return f"not measured in {other.run.run_id}: {planned[0].missing[0].reason.replace('_', ' ')}"
    return f"not part of {other.run.run_id}"


def _asks(cell: CellSummary) -> tuple[object, ...]:
    return (cell.server, cell.model, cell.protocol, cell.batch, cell.load.label)


def _differing(cell: CellSummary, other: CellSummary) -> tuple[str, ...]:
    """The facts of identity in which they differ: ``launcher: docker here, process there``."""
    mine, theirs = _facts(cell), _facts(other)
    return tuple(f"{name}: {mine[name]} here, {theirs[name]} there" for name in mine if mine[name] != theirs[name])


def _facts(cell: CellSummary) -> dict[str, str]:
    case: Case = cell.measurements[0].case
    return {
        "launcher": launcher_of(cell) or "in-process",
        "hardware": case.hardware,
        "benchmark version": str(case.version),
        "model version": str(case.model_version),
        "format": f"{case.format} {case.precision}",
        "artifact": case.artifact_sha256[:12],
        "options": ", ".join(f"{name}={value}" for name, value in sorted(case.options.items())) or "none",
        "threads": str(case.threads),
        "load": case.load.label,
    }
