"""What must hold of a night's figures when they lie side by side, and what it means where it does not.

Every rule is one that chance cannot break: what is found is a fault of measuring or of keeping, never a slow server.
Rules are checks of the columns of `nightbench.night_frame`; who evaluates them is no matter of this module.
"""

import math
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from nightbench.figures import Reason
from nightbench.night_frame import COUNTS, QUANTILES, RATES, SPANS, TIMES, Row
from nightbench.record import GateRecord

__all__ = ["RULES", "Check", "Evaluated", "Finding", "Quality", "Rule", "gate_records", "judged"]

_SHORTEST_NS = 1e3
"""No request crosses a socket, or enters a model, and comes back in less than a microsecond."""
_LONGEST_NS = 3.6e12
_UNITS_APART = 30.0
"""Units of time are a thousand apart, and two ways to take one median never as much as the root of that."""
_LARGEST = sys.float_info.max
"""What is more is infinite."""


@dataclass(frozen=True, slots=True)
class Check:
    """What must hold of one column in every row that has a figure there."""

    kind: Literal["given", "between", "at_most", "equal"]
    column: str
    other: str = ""
    """``at_most``, ``equal``: the column it is compared with. Rows without a figure there are not looked at."""
    low: float = 0.0
    """``between``."""
    high: float = _LARGEST
    above: bool = False
    """``between``: ``low`` itself is too little."""
    where: str = ""
    """Rows that are looked at, as a condition of pandas; all where empty."""
    figure: str = ""
    """What is doubted, as in `nightbench.figures.Doubt`; empty for the whole cell."""

    @property
    def says(self) -> str:
        match self.kind:
            case "given":
                return f"{self.column} is given"
            case "between":
                low = f"{'more than' if self.above else 'at least'} {self.low:.4g}"
                return f"{self.column} is {low}" + (f" and at most {self.high:.4g}" if self.high < _LARGEST else "")
            case "at_most":
                return f"{self.column} is at most {self.other}"
            case "equal":
                return f"{self.column} equals {self.other}"

    def broken_by(self, row: Row) -> str:
        """What is wrong with ``row``, which breaks it, in words."""
        value = row[self.column]
        if self.kind == "given":
            return "there is no record of it: neither figures nor a reason why there are none"
        if isinstance(value, float) and math.isinf(value):
            return f"{self.column} is no finite number"
        found = f"{self.column} is {_shown(value)}"
        match self.kind:
            case "at_most":
                return f"{found}, more than {self.other}, {_shown(row[self.other])}"
            case "equal":
                return f"{found}, and {self.other} is {_shown(row[self.other])}"
            case "between":
                low = isinstance(value, int | float) and (value < self.low or (self.above and value <= self.low))
                bound = f"not more than {self.low:.4g}" if self.above else f"less than {self.low:.4g}"
                return f"{found}, {bound if low else f'more than {self.high:.4g}'}"


def _shown(value: str | float | None) -> str:
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if 1e5 <= abs(value) < 1e15 else f"{value:.6g}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing to expect of a night, in as many checks as it takes."""

    name: str
    reason: Reason
    says: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What became of one check."""

    check: Check
    looked_at: int
    broken_in: tuple[str, ...]
    """Ids of the cells' rounds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row that breaks a rule."""

    cell_id: str
    cell_key: str
    label: str
    """The cell in words: server, model, batch, protocol, load."""
    detail: str
    figures: tuple[str, ...]
    """As in `nightbench.figures.Doubt`."""

    @property
    def round(self) -> int:
        return _round(self.cell_id)


@dataclass(frozen=True, slots=True)
class Quality:
    """A rule, what it was held against, and what breaks it."""

    rule: Rule
    evaluated: tuple[Evaluated, ...]
    """Each of its checks."""
    findings: tuple[Finding, ...]
    """One a row that breaks any of them, but for those that follow from what another rule found."""

    @property
    def looked_at(self) -> int:
        """Rows in which the check that applies most often had a figure to look at."""
        return max(each.looked_at for each in self.evaluated)


def judged(rows: Sequence[Row], evaluated: Iterable[Evaluated]) -> list[Quality]:
    """The findings of each rule in `RULES`, by cell and round, whatever the order of ``rows``.

    What is out of range breaks comparisons as well. Its range alone is named: the rest follows.
    """
    of_check = {each.check: each for each in evaluated}
    by_id = {str(row["cell_id"]): row for row in rows}
    out_of_range: dict[str, list[Check]] = {}
    found = []
    for rule in RULES:
        results = [of_check[check] for check in rule.checks]
        broken: dict[str, list[Check]] = {}
        for result in results:
            for cell_id in result.broken_in:
                if not _follows(result.check, out_of_range.get(cell_id, ())):
                    broken.setdefault(cell_id, []).append(result.check)
        if rule.reason is Reason.OUT_OF_RANGE:
            for cell_id, checks in broken.items():
                out_of_range.setdefault(cell_id, []).extend(checks)
        findings = [_finding(by_id[cell_id], checks) for cell_id, checks in sorted(broken.items(), key=_by_round)]
        found.append(Quality(rule, tuple(results), tuple(findings)))
    return found


def _follows(check: Check, out_of_range: Iterable[Check]) -> bool:
    """Whether nothing new is said by ``check`` of a row in which those broke: its figures are doubted already."""
    return any(not each.figure or each.column in {check.column, check.other} for each in out_of_range)


def _by_round(item: tuple[str, object]) -> tuple[str, int]:
    return item[0].rpartition(".r")[0], _round(item[0])


def _round(cell_id: str) -> int:
    return int(cell_id.rpartition(".r")[2])


def _finding(row: Row, checks: Sequence[Check]) -> Finding:
    more = f", and {len(checks) - 1} more like it" if len(checks) > 1 else ""
    figures = () if any(not check.figure for check in checks) else tuple(sorted({check.figure for check in checks}))
    return Finding(
        str(row["cell_id"]), str(row["cell_key"]), str(row["label"]), checks[0].broken_by(row) + more, figures
    )


def gate_records(run_id: str, quality: Iterable[Quality]) -> list[GateRecord]:
    """One a cell and rule that it breaks."""
    records = []
    for each in quality:
        by_cell: dict[str, list[Finding]] = {}
        for finding in each.findings:
            by_cell.setdefault(finding.cell_key, []).append(finding)
        for key, findings in sorted(by_cell.items()):
            records.append(
                GateRecord(
                    run_id=run_id,
                    cell_key=key,
                    reason=each.rule.reason,
                    expectation=each.rule.name,
                    detail=_over_rounds(findings),
                    figures=_figures(findings),
                )
            )
    return records


def _over_rounds(findings: Sequence[Finding]) -> str:
    first = findings[0]
    where = f"round {first.round}: {first.detail}"
    return where if len(findings) == 1 else f"{len(findings)} rounds, as in {where}"


def _figures(findings: Collection[Finding]) -> tuple[str, ...]:
    if any(not finding.figures for finding in findings):
        return ()
    return tuple(sorted({name for finding in findings for name in finding.figures}))


_OF_STREAMS: Mapping[str, str] = {
    **{f"{name}_{level}_ns": f"{name}_{level}" for name in ("ttft", "itl") for level in QUANTILES},
    "tokens_per_s": "tokens_per_s",
    "goodput_rps": "goodput_rps",
}
"""Figures that are taken from other columns of the samples than the rest, which stands without them."""


def _between(column: str, low: float = 0.0, high: float = _LARGEST) -> Check:
    return Check("between", column, low=low, high=high, figure=_OF_STREAMS.get(column, ""))


def _at_most(column: str, other: str) -> Check:
    figures = {_OF_STREAMS.get(column, ""), _OF_STREAMS.get(other, "")}
    return Check("at_most", column, other, figure="" if "" in figures else _OF_STREAMS[column])


def _times(*names: str) -> Iterator[str]:
    yield from (f"{name}_{level}_ns" for name in names for level in QUANTILES)


RULES = (
    Rule(
        "every_round_is_on_record",
        Reason.INCOMPLETE,
        "Every cell that the plan has in a round left its figures, or the reason why there are none.",
        (Check("given", "record"),),
    ),
    Rule(
        "figures_are_finite_and_not_negative",
        Reason.OUT_OF_RANGE,
        "Rates, times and counts are numbers from zero up.",
        tuple(_between(column) for column in (*RATES, *SPANS, *COUNTS, *_times(*TIMES))),
    ),
    Rule(
        "times_are_in_nanoseconds",
        Reason.OUT_OF_RANGE,
        "A time is between a microsecond and an hour, and the median of the histogram is that of the figures: what is "
        "not was taken in another unit. Gaps between tokens may be shorter.",
        (
            *(_between(column, _SHORTEST_NS, _LONGEST_NS) for column in _times("latency", "service", "ttft")),
            *(_between(column, 0.0, _LONGEST_NS) for column in _times("itl")),
            _between("latency_p50_over_histogram", 1.0 / _UNITS_APART, _UNITS_APART),
        ),
    ),
    Rule(
        "answers_came_before_the_timeout",
        Reason.OUT_OF_RANGE,
        "No answer took longer than a request is waited for: the timeout from when it was sent, and from when it was "
        "due the time of sending besides. A second is allowed for a stall of the client.",
        (
            *(_at_most(column, "service_most_ns") for column in _times("service")),
            *(_at_most(column, "latency_most_ns") for column in _times("latency")),
        ),
    ),
    Rule(
        "answers_have_a_rate",
        Reason.OUT_OF_RANGE,
        "Where requests succeeded, half of them within the window's length, the throughput is more than zero.",
        (Check("between", "throughput_rps", above=True, where="ok > 1 and latency_p50_ns < measured_ns / 2"),),
    ),
    Rule(
        "counts_add_up",
        Reason.OUT_OF_RANGE,
        "The histogram holds as many values as requests succeeded, and an open loop counts as many requests as it "
        "says that it offered.",
        (Check("equal", "histogram_ok", "ok"), Check("equal", "requests", "due")),
    ),
    Rule(
        "quantiles_rise",
        Reason.QUANTILES_CROSS,
        "p50 is at most p90, p90 at most p95, p95 at most p99.",
        tuple(_at_most(f"{name}_{low}_ns", f"{name}_{high}_ns") for name in TIMES for low, high in pairwise(QUANTILES)),
    ),
    Rule(
        "service_is_within_latency",
        Reason.QUANTILES_CROSS,
        "A request is sent when it is due or later, so at each quantile the time from sending is at most the latency.",
        tuple(_at_most(f"service_{level}_ns", f"latency_{level}_ns") for level in QUANTILES),
    ),
    Rule(
        "achieved_is_within_offered",
        Reason.RATE_EXCEEDED,
        "An open loop's throughput is at most what was due, with room for what was in flight when the window opened.",
        (_at_most("throughput_rps", "throughput_most_rps"),),
    ),
)
