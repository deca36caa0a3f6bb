"""What `nightbench.arena` found, as sentences made from its figures."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from nightbench.arena import Arena, Metric, leaders
from nightbench.figures import Estimate

__all__ = ["in_words"]

_NS_PER_S = 1e9


def in_words(found: Arena) -> list[str]:
    """Which wins when: a sentence for each metric, and one each for memory, for starts, and for what is written."""
    said = [sentence for metric in Metric if (sentence := _contest(found, metric))]
    heaviest = {each.name: each.levels[-1].peak_rss_bytes for each in found.architectures if each.levels}
    said += _least("memory under the heaviest load", heaviest, lambda value: f"{value / 2**20:,.0f} MiB")
    starts = {each.name: each.deployment.cold_start_ns for each in found.architectures if each.deployment}
    said += _least("time to start", starts, lambda value: f"{value / _NS_PER_S:.2f} s")
    lines = {each.name: Estimate(each.lines, each.lines, each.lines) for each in found.architectures if each.written}
    said += _least("to write", lines, lambda value: f"{value:.0f} lines")
    return said


_BEST = {
    Metric.P50: "lowest p50 latency",
    Metric.P99: "lowest p99 latency",
    Metric.THROUGHPUT: "highest throughput",
    Metric.CPU: "least processor time a request",
}


def _contest(found: Arena, metric: Metric) -> str:
    """``Lowest p50 latency: A at 1 to 4 in flight; A and B level at 8.``"""
    ranked = [each for each in found.standings if each.metric is metric]
    if not any(each.leaders for each in ranked):
        return f"{_BEST[metric].capitalize()}: not decided, for no load has two figures that are not doubted."
    parts = []
    # Those who are level stay so whoever is ahead by a hair.
    for names, levels in groupby(ranked, key=lambda each: tuple(sorted(each.leaders))):
        sizes = [each.concurrency for each in levels]
        at = f"at {sizes[0]}" if len(sizes) == 1 else f"from {sizes[0]} to {sizes[-1]}"
        match names:
            case ():
                parts.append(f"not decided {at} in flight, where figures are doubted or missing")
            case (alone,):
                parts.append(f"{alone} {at} in flight")
            case _:
                parts.append(f"{_listed(names)} level {at} in flight")
    return f"{_BEST[metric].capitalize()}: {'; '.join(parts)}."


def _least(what: str, known: Mapping[str, Estimate | None], show: Callable[[float], str]) -> list[str]:
    given = {name: each for name, each in known.items() if each is not None}
    if len(given) < 2:
        return []
    best = leaders(given, higher_is_better=False)
    figures = ", ".join(
        f"{name} {show(each.value)}" for name, each in sorted(given.items(), key=lambda item: item[1].value)
    )
    who = best[0] if len(best) == 1 else f"{_listed(sorted(best))} level"
    return [f"Least {what}: {who} ({figures})."]


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
