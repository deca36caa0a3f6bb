"""What the rounds of each cell, and the starts of each setup, say together: one estimate a figure."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nightbench.figures import Estimate
from nightbench.load import ClosedLoop, OpenLoop, PeakShare, Search
from nightbench.record import Case, DeploymentRecord, MeasurementRecord
from nightbench.stats.combine import combine
from nightbench.stats.moderate import combine_all

__all__ = ["Figures", "over_rounds", "over_starts", "setup_of"]


_SINGLE: Mapping[str, Callable[[MeasurementRecord], Estimate | None]] = {
    "throughput_rps": lambda record: record.throughput_rps,
    "offered_rps": lambda record: None if record.offered_rps is None else Estimate(record.offered_rps),
    "answer_rps": lambda record: record.search.answer_rps if record.search else None,
    "tokens_per_s": lambda record: record.stream.tokens_per_s if record.stream else None,
    "goodput_rps": lambda record: record.stream.goodput_rps if record.stream else None,
}
_QUANTILES: Mapping[str, Callable[[MeasurementRecord], Mapping[str, Estimate]]] = {
    "latency_ns": lambda record: record.latency_ns,
    "service_ns": lambda record: record.service_ns,
    "ttft_ns": lambda record: record.stream.ttft_ns if record.stream else {},
    "itl_ns": lambda record: record.stream.itl_ns if record.stream else {},
}


@dataclass(frozen=True, slots=True)
class Figures:
    """One cell over its rounds."""

    single: dict[str, Estimate] = field(default_factory=dict)
    """``throughput_rps offered_rps answer_rps tokens_per_s goodput_rps``, as far as every round has them."""
    quantiles: dict[str, dict[str, Estimate]] = field(default_factory=lambda: {name: {} for name in _QUANTILES})
    """``latency_ns service_ns ttft_ns itl_ns``, each with the quantiles that every round could carry."""


def over_rounds(cells: Mapping[str, Sequence[MeasurementRecord]]) -> dict[str, Figures]:
    """Every metric over the rounds, by cell key; empty for a cell without rounds.

    The cells of a night lend each other what they know of how much starts differ (`combine_all`), metric by metric
    and apart for each kind of load: the rate of an open loop hardly differs, that of a closed one does. A figure that
    any round could not give is left out, not averaged over fewer.
    """
    found = {key: Figures() for key in cells}
    for kind in (ClosedLoop, OpenLoop, PeakShare, Search):
        alike = {key: rounds for key, rounds in cells.items() if rounds and isinstance(rounds[0].case.load, kind)}
        units = {key: setup_of(rounds[0].case) for key, rounds in alike.items()}
        for field_name, figure in _SINGLE.items():
            known = _carried({key: [figure(record) for record in rounds] for key, rounds in alike.items()})
            for key, estimate in _together(known, units).items():
                found[key].single[field_name] = estimate
        for field_name, quantiles in _QUANTILES.items():
            of_cell = {key: [quantiles(record) for record in rounds] for key, rounds in alike.items()}
            for name in _names(of_cell):
                known = _carried({key: [each.get(name) for each in rounds] for key, rounds in of_cell.items()})
                for key, estimate in _together(known, units).items():
                    found[key].quantiles[field_name][name] = estimate
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


def _carried(cells: Mapping[str, Sequence[Estimate | None]]) -> dict[str, list[Estimate]]:
    """The cells of which every round has the figure. One that is no number would spoil those of the others as well."""
    known = {
        key: [each for each in rounds if each is not None and math.isfinite(each.value)]
        for key, rounds in cells.items()
    }
    return {key: rounds for key, rounds in known.items() if len(rounds) == len(cells[key])}


def _together(groups: Mapping[str, Sequence[Estimate]], units: Mapping[str, str]) -> dict[str, Estimate]:
    """A round that gives no bounds saw a cluster, say one stall: its cell knows less than others can lend it."""
    known = {key: rounds for key, rounds in groups.items() if all(map(_bounded, rounds))}
    lent = dict(zip(known, combine_all(list(known.values()), units=[units[key] for key in known]), strict=True))
    return {key: lent[key] if key in lent else combine(rounds) for key, rounds in groups.items()}


def _bounded(estimate: Estimate) -> bool:
    return estimate.low is not None or estimate.high is not None
