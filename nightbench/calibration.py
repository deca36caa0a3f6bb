"""What the null server's figures say of a cell, and of the machine (`loadgen.calibrate` takes them)."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from nightbench.figures import Doubt, Estimate, Reason
from nightbench.record import CalibrationRecord, CanaryRecord

__all__ = ["MAX_CEILING_SHARE", "MAX_MOVE", "ceiling_share", "client_ceiling", "moved_rounds"]

MAX_CEILING_SHARE = 0.7
"""By the Pollaczek-Khinchine formula (Kleinrock, "Queueing Systems", volume 1, 1975, 5.6) an answer waits
rho / (2 (1 - rho)) times what the client takes to handle one, where rho is how busy the client is: its share of the
ceiling. That is as long as the handling itself at two thirds, four times as long at 0.9, and beyond any bound at 1."""
MAX_MOVE = 0.1
"""A tenth is the size of the changes we look for. It is counted from the nearer end of the figures' intervals, which
are wide where it is hard to say. Twenty calibrations in a row of three kinds, with three runnable tasks on the two
processors and then with six: the ceiling's half-width was 11-13 % and 18-22 %, its move had a standard deviation of
19 % and 20 %, the floor's 11 % and 7 %, that of the processor time a request, which has no interval, 6 % and 3 %."""

MIN_AGREEMENT = 0.03
"""What fixed work must be off by, in the same sense, before a figure without an interval is believed. With a standard
deviation of 6 %, as above, one round in ten in which nothing happened is off by `MAX_MOVE`. The fixed work, which
neither sends nor receives, is not off together with it by that accident."""


@dataclass(frozen=True, slots=True)
class _Figure:
    """One of those that are compared from round to round."""

    words: str
    of: Callable[[CalibrationRecord], Estimate | None]
    more_is_faster: bool
    has_interval: bool = True


def _cost(record: CalibrationRecord) -> Estimate:
    """Of all that is calibrated the least disturbed by others on the machine: it tells a slower processor."""
    cost_ns = record.client_cpu_ns_per_request
    return Estimate(cost_ns, cost_ns, cost_ns)


_FIGURES = (
    _Figure("the client's throughput", lambda record: record.ceiling_rps, more_is_faster=True),
    _Figure("the median service time", lambda record: record.floor_ns.get("p50"), more_is_faster=False),
    _Figure("the client's processor time a request", _cost, more_is_faster=False, has_interval=False),
)


def ceiling_share(throughput_rps: float, ceiling_rps: float) -> float:
    """Throughput as a share of what the client itself can do; `ValueError` unless the ceiling is above zero."""
    if ceiling_rps <= 0.0:
        raise ValueError(f"a ceiling of {ceiling_rps} requests a second is none")
    return throughput_rps / ceiling_rps


def client_ceiling(share: float | None, ceiling_by: Literal["client", "server"] = "client") -> Iterator[Doubt]:
    """The cell came near the client's own ceiling; ``share`` is ``None`` where that is not known.

    The whole cell is doubted. In a closed loop the throughput is the client's as much as the server's, since the
    slower of the two sets the pace. In an open loop the rate is the one asked for, but in either an answer waits in
    its socket while the client is busy with others, and the wait counts as latency; in an open loop, sends are late
    too. No quantile is spared: unlike a stall, the queue is always there.

    A ceiling that the null server set, as one process does against several workers, is the least the client can do:
    how near the cell came to the client's own is not known, and nothing is doubted.
    """
    if share is not None and ceiling_by == "client" and share > MAX_CEILING_SHARE:
        yield Doubt(
            Reason.CLIENT_CEILING,
            f"the throughput is {share:.0%} of what the client itself reaches against a server that does nothing, more "
            f"than {MAX_CEILING_SHARE:.0%}",
        )


def moved_rounds(records: Sequence[CalibrationRecord], work: Sequence[CanaryRecord] = ()) -> Mapping[int, str]:
    """The rounds in which the machine was not as fast as in the night's median round, each with a sentence.

    ``records`` are all of one run. Of each kind of request, a round's figure is compared with the median over the
    rounds; the median of these ratios over the kinds is the round's move, so that a moment's trouble during one
    calibration of several is none. It has to exceed `MAX_MOVE` even if each figure stood at that end of its 95 %
    interval which is nearer to the median. Of two rounds that differ so much neither is the right one, and both are
    named. Failed calibrations say nothing, and neither does a night of one round.

    ``work`` is the fixed work of the same rounds. A figure that has no interval counts only where that work, if the
    round and another did any, is off by `MIN_AGREEMENT` in the same sense.
    """
    pace = _pace(work)
    moved: dict[int, str] = {}
    for figure in _FIGURES:
        for number, (move, kinds) in _moves(records, figure.of).items():
            agreed = figure.has_interval or number not in pace or pace[number] * move >= MIN_AGREEMENT * abs(move)
            if abs(move) > MAX_MOVE and agreed:
                moved.setdefault(
                    number,
                    f"against a server that does nothing {figure.words} in round {number} was at least {abs(move):.0%} "
                    f"{'above' if move > 0.0 else 'below'} the night's median over {kinds} "
                    f"kind{'' if kinds == 1 else 's'} of requests: the machine was "
                    f"{'faster' if (move > 0.0) is figure.more_is_faster else 'slower'} than in other rounds",
                )
    return dict(sorted(moved.items()))


def _moves(
    records: Sequence[CalibrationRecord], figure: Callable[[CalibrationRecord], Estimate | None]
) -> dict[int, tuple[float, int]]:
    """Each round's least move as a share of the night's median, and over how many kinds of requests."""
    kinds: defaultdict[tuple[object, ...], list[tuple[int, Estimate]]] = defaultdict(list)
    for record in records:
        estimate = figure(record)
        if record.failure is None and estimate is not None and estimate.value > 0.0:
            kinds[_kind(record)].append((record.round, estimate))
    moves: defaultdict[int, list[float]] = defaultdict(list)
    for rounds in kinds.values():
        usual = median(estimate.value for _, estimate in rounds)
        for number, estimate in rounds:
            moves[number].append(_least_move(estimate, usual))
    return {number: (median(each), len(each)) for number, each in moves.items()}


def _pace(work: Sequence[CanaryRecord]) -> dict[int, float]:
    """How much longer than in the median round fixed work took, as a share: the median over its kinds."""
    kinds: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for record in work:
        if record.device == "cpu" and record.duration_ns is not None and record.duration_ns.value > 0.0:
            kinds[record.canary][record.round] = record.duration_ns.value
    longer: defaultdict[int, list[float]] = defaultdict(list)
    for rounds in kinds.values():
        if len(rounds) > 1:
            usual = median(rounds.values())
            for number, duration_ns in rounds.items():
                longer[number].append(duration_ns / usual - 1.0)
    return {number: median(each) for number, each in longer.items()}


def _kind(record: CalibrationRecord) -> tuple[object, ...]:
    return record.protocol, record.model, record.batch, record.request_bytes, record.response_bytes


def _least_move(estimate: Estimate, usual: float) -> float:
    """How far the nearer end of the interval lies from ``usual``, as a share of it; 0 where it may lie beyond."""
    if estimate.value >= usual:
        return max(0.0, (estimate.low or 0.0) / usual - 1.0)
    return min(0.0, (usual if estimate.high is None else estimate.high) / usual - 1.0)
