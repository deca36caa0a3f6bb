"""What the rounds of each cell, and the starts of each setup, say together: one estimate a figure."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nightbench.load import ClosedLoop, OpenLoop
from nightbench.record import Case, DeploymentRecord, Estimate, MeasurementRecord
from nightbench.stats.combine import combine
from nightbench.stats.moderate import combine_all

__all__ = ["Figures", "over_rounds", "over_starts", "setup_of"]


@dataclass(slots=True)
class Figures:
    """One cell over its rounds."""

    throughput_rps: Estimate | None = None
    latency_ns: dict[str, Estimate] = field(default_factory=dict)
    service_ns: dict[str, Estimate] = field(default_factory=dict)


def over_rounds(cells: Mapping[str, Sequence[MeasurementRecord]]) -> dict[str, Figures]:
    """Every metric over the rounds, by cell key; empty for a cell without rounds.

    The cells of a night lend each other what they know of how much starts differ (`combine_all`), metric by metric
    and apart for open and closed loops: the rate of an open loop hardly differs, that of a closed one does. A
    quantile that any round could not carry is left out, not averaged over fewer.
    """
    found = {key: Figures() for key in cells}
    for kind in (ClosedLoop, OpenLoop):
        alike = {key: rounds for key, rounds in cells.items() if rounds and isinstance(rounds[0].case.load, kind)}
        units = {key: setup_of(rounds[0].case) for key, rounds in alike.items()}
        rates = {key: [record.throughput_rps for record in rounds] for key, rounds in alike.items()}
        for key, rate in _together(rates, units).items():
            found[key].throughput_rps = rate
        latency = {key: [record.latency_ns for record in rounds] for key, rounds in alike.items()}
        service = {key: [record.service_ns for record in rounds] for key, rounds in alike.items()}
        for name in _names(latency):
            for key, estimate in _together(_carried(latency, name), units).items():
                found[key].latency_ns[name] = estimate
        for name in _names(service):
            for key, estimate in _together(_carried(service, name), units).items():
                found[key].service_ns[name] = estimate
    return found


def over_starts(
    setups: Mapping[str, Sequence[DeploymentRecord]], figure: Callable[[DeploymentRecord], int | None]
) -> dict[str, Estimate]:
    """One figure over the starts of each setup, by its key; a setup that never gave it is left out."""
    known: dict[str, list[Estimate]] = {}
    for key, starts in setups.items():
        values = [Estimate(float(value)) for start in starts if (value := figure(start)) is not None]
        if values:
            known[key] = values
    return dict(zip(known, combine_all(list(known.values())), strict=True))


def setup_of(source: Case | DeploymentRecord) -> str:
    """Names what is started afresh every round; cells that share it share the luck of its starts."""
    return json.dumps((source.server, source.model, source.format, source.precision, sorted(source.options.items())))


def _names(cells: Mapping[str, Sequence[Mapping[str, Estimate]]]) -> Iterable[str]:
    """Of all quantiles, in their own order."""
    return dict.fromkeys(name for rounds in cells.values() for each in rounds for name in each)


def _carried(cells: Mapping[str, Sequence[Mapping[str, Estimate]]], name: str) -> dict[str, list[Estimate]]:
    return {
        key: [each[name] for each in rounds] for key, rounds in cells.items() if all(name in each for each in rounds)
    }


def _together(groups: Mapping[str, Sequence[Estimate]], units: Mapping[str, str]) -> dict[str, Estimate]:
    """A round that gives no bounds saw a cluster, say one stall: its cell knows less than others can lend it."""
    known = {key: rounds for key, rounds in groups.items() if all(map(_bounded, rounds))}
    lent = dict(zip(known, combine_all(list(known.values()), units=[units[key] for key in known]), strict=True))
    return {key: lent[key] if key in lent else combine(rounds) for key, rounds in groups.items()}


def _bounded(estimate: Estimate) -> bool:
    return estimate.low is not None or estimate.high is not None
