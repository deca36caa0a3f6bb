"""The client's own limits as rows of ready text."""

from dataclasses import dataclass

from dashboards.report import format as fmt
from nightbench.client_limits import CalibrationSummary

__all__ = ["CalibrationRow", "calibrations"]


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    protocol: str
    model: str
    batch: int
    request: str
    response: str
    ceiling: fmt.Shown
    remark: str
    """How the ceiling is meant."""
    floor_p50: fmt.Shown
    floor_p99: fmt.Shown
    cpu: fmt.Shown
    times: str
    failures: tuple[str, ...]


def calibrations(summaries: tuple[CalibrationSummary, ...]) -> list[CalibrationRow]:
    return [
        CalibrationRow(
            protocol=str(each.protocol),
            # The canary is no request of the suite.
            model=each.model or "canary",
            batch=each.batch,
            request=fmt.size(each.request_bytes),
            response=fmt.size(each.response_bytes),
            ceiling=fmt.rate(each.ceiling_rps),
            remark="or more" if each.at_least else "",
            floor_p50=fmt.short(each.floor_ns.get("p50")),
            floor_p99=fmt.short(each.floor_ns.get("p99")),
            cpu=fmt.short(each.client_cpu_ns_per_request),
            times=f"{each.times - len(each.failures)} of {each.times}",
            failures=tuple(f"round {record.round}: {record.failure}" for record in each.failures),
        )
        for each in summaries
    ]
