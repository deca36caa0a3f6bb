"""What stands out: who is best at equal load, said only where the 95 % intervals separate.

Two intervals that do not overlap separate more cautiously than a test at the same level would; nothing is
adjusted for the number of comparisons, and the page says so. Doubted cells do not compete, nor do in-process
ones, which pay for no network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dashboards.report import format as fmt
from dashboards.report.series import Looks
from dashboards.report.sound import competes
from nightbench.figures import Estimate
from nightbench.load import ClosedLoop, PeakShare, Search
from nightbench.model import Precision
from nightbench.summary import CellSummary, NightSummary

__all__ = ["Contest", "Standing", "best_of", "contests", "in_words", "separates", "troubles"]


@dataclass(frozen=True, slots=True)
class Standing:
    """The outcome of one comparison on one figure."""

    leaders: tuple[str, ...]
    """One name where its interval separates it from all others, else everyone who may be the best."""
    figure: str
    """The best figure, with its interval."""
    runner_up: str = ""
    """The next one and its figure, where there is a single leader."""

    @property
    def decided(self) -> bool:
        return len(self.leaders) == 1


@dataclass(frozen=True, slots=True)
class Contest:
    """All undoubted servers under the same model, batch size and load."""

    model: str
    load: str
    p50: Standing | None
    p99: Standing | None
    throughput: Standing | None
    """Of a search, its answer. ``None`` in an open loop, where throughput is given rather than found."""


def separates(best: Estimate, other: Estimate, *, higher_is_better: bool) -> bool:
    """Whether ``best`` is better than ``other`` by more than both their intervals; never with an open bound."""
    if higher_is_better:
        return best.low is not None and other.high is not None and best.low > other.high
    return best.high is not None and other.low is not None and best.high < other.low


def contests(night: NightSummary, looks: Looks) -> list[Contest]:
    """One for each model, batch and load at which at least two undoubted servers were measured.

    Shares of the peak are no equal loads: each server has a peak of its own. Searches compete by their answers alone.
    """
    groups: dict[tuple[str, int, str], list[CellSummary]] = {}
    for cell in night.cells:
        if isinstance(cell.load, PeakShare):
            continue
        if competes(cell, ""):
            groups.setdefault((cell.model, cell.batch, cell.load.label), []).append(cell)
    batches = {cell.batch for cell in night.cells}
    found = []
    for (model, batch, load), cells in groups.items():
        entries = [(looks.of(cell).label, cell) for cell in cells]
        searched = isinstance(cells[0].load, Search)
        contest = Contest(
            model=model,
            load=f"{load} · batch {batch}" if len(batches) > 1 else load,
            p50=None if searched else _latency(entries, "p50"),
            p99=None if searched else _latency(entries, "p99"),
            throughput=_throughput(entries) if isinstance(cells[0].load, ClosedLoop | Search) else None,
        )
        if contest.p50 or contest.p99 or contest.throughput:
            found.append(contest)
    return found


def in_words(found: Sequence[Contest]) -> str:
    """One sentence over all contests, on the median."""
    standings = [contest.p50 for contest in found if contest.p50]
    if not standings:
        return "There is nothing to compare: no two undoubted servers ran under the same load."
    wins: dict[str, int] = {}
    for standing in standings:
        if standing.decided:
            wins[standing.leaders[0]] = wins.get(standing.leaders[0], 0) + 1
    undecided = len(standings) - sum(wins.values())
    total = "the one comparison" if len(standings) == 1 else f"{len(standings)} comparisons"
    if undecided == len(standings):
        return f"No server has the lowest median latency in {total} at equal load: the intervals overlap."
    if len(wins) == 1 and not undecided:
        every = total if len(standings) == 1 else f"all {total}"
        return f"{next(iter(wins))} has the lowest median latency in {every} at equal load."
    first, *others = [f"{name} in {won}" for name, won in sorted(wins.items(), key=_most_first)]
    parts = [first.replace(" in ", " has the lowest median latency in ", 1), *others]
    if undecided:
        parts.append(f"{undecided} cannot be decided because the intervals overlap")
    return f"Of {total} at equal load, {'; '.join(parts)}."


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _latency(entries: Sequence[tuple[str, CellSummary]], quantile: str) -> Standing | None:
    known = [
        (name, cell.latency_ns[quantile])
        for name, cell in entries
        if quantile in cell.latency_ns and competes(cell, quantile)
    ]
    return best_of(known, fmt.latency, higher_is_better=False)


def _throughput(entries: Sequence[tuple[str, CellSummary]]) -> Standing | None:
    rates = [
        (name, cell.answer_rps if isinstance(cell.load, Search) else cell.throughput_rps) for name, cell in entries
    ]
    known = [(name, rate) for name, rate in rates if rate is not None]
    return best_of(known, fmt.rate, higher_is_better=True)


def best_of(
    entries: Sequence[tuple[str, Estimate]],
    show: Callable[[Estimate], fmt.Shown],
    *,
    higher_is_better: bool,
) -> Standing | None:
    """Who leads among these; ``None`` where there is nobody to lead."""
    if len(entries) < 2:
        return None
    (name, best), *rest = sorted(entries, key=lambda entry: entry[1].value, reverse=higher_is_better)
    level = [other for other, estimate in rest if not separates(best, estimate, higher_is_better=higher_is_better)]
    if level:
        return Standing((name, *level), str(show(best)))
    return Standing((name,), str(show(best)), f"{rest[0][0]} {show(rest[0][1])}")


def troubles(night: NightSummary) -> list[str]:
    """What went wrong tonight, one sentence each: starts, exports, calibrations, parity and the quality gate."""
    sentences = [
        f"{setup.server} did not come up with {setup.model} in {setup.failed} of {setup.starts} starts."
        for setup in night.deployments
        if setup.failed
    ]
    sentences += [
        f"{record.model} could not be exported to {record.format}{_unusual(record.precision)}."
        for record in night.artifacts
        if record.failure
    ]
    sentences += [
        f"The client could not be calibrated for {each.protocol} with {each.model or 'the canary'} in "
        f"{len(each.failures)} of {each.times} attempts."
        for each in night.calibrations
        if each.failures
    ]
    strays = dict.fromkeys((each.model, each.format, each.precision) for each in night.parity if not each.passed)
    sentences += [
        f"{model} as {format_}{_unusual(precision)} differs from PyTorch by more than its tolerance."
        for model, format_, precision in strays
    ]
    failed = dict.fromkeys(
        (each.server, each.model, each.precision, each.answered) for each in night.wire_parity if not each.passed
    )
    sentences += [
        f"{server} answers for {model}{_unusual(precision)} with other numbers than PyTorch."
        if answered
        else f"{server} could not be asked about {model}{_unusual(precision)}: a request got no answer."
        for server, model, precision, answered in failed
    ]
    faulty = {record.cell_key for record in night.gate}
    lost = len(faulty - {cell.cell_key for cell in night.cells})
    if faulty:
        without = f", {lost} of them without any record" if lost else ""
        sentences.append(f"The quality gate doubts {_cells(len(faulty))}{without}.")
    return sentences


def _cells(number: int) -> str:
    return "one cell" if number == 1 else f"{number} cells"


def _unusual(precision: Precision) -> str:
    return "" if precision is Precision.FP32 else f" in {precision}"
