"""What `nightbench.arena` found, as sentences made from its figures."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from nightbench.arena import Architecture, Arena, Metric, leaders
from nightbench.figures import Estimate

__all__ = ["in_words"]

_NS_PER_S = 1e9


def in_words(found: Arena) -> list[str]:
    """Which wins when: a sentence for each metric, and one each for memory, for starts, and for what is written."""
    said = [sentence for metric in Metric if (sentence := _contest(found, metric))]
    if heaviest := set.intersection(*({level.concurrency for level in each.levels} for each in found.architectures)):
        peaks = {each.name: _peak(each, max(heaviest)) for each in found.architectures}
        what = f"memory at {max(heaviest)} in flight, the heaviest load that all were asked for"
        said += _least(what, peaks, lambda value: f"{value / 2**20:,.0f} MiB")
    starts = {each.name: _start(each) for each in found.architectures}
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
    for (names, absent), levels in groupby(
        ranked, key=lambda each: (tuple(sorted(each.leaders)), each.left_out if each.leaders else ())
    ):
        without = f" (without {_listed(absent)}, doubted or missing)" if absent else ""
        sizes = [each.concurrency for each in levels]
        at = f"at {sizes[0]}" if len(sizes) == 1 else f"from {sizes[0]} to {sizes[-1]}"
        match names:
            case ():
                parts.append(f"not decided {at} in flight, where figures are doubted or missing")
            case (alone,):
                parts.append(f"{alone} {at} in flight{without}")
            case _:
                parts.append(f"{_listed(names)} level {at} in flight{without}")
    return f"{_BEST[metric].capitalize()}: {'; '.join(parts)}."


def _peak(architecture: Architecture, concurrency: int) -> Estimate | None:
    """``None`` where it is doubted, as the next."""
    level = next(each for each in architecture.levels if each.concurrency == concurrency)
    return None if level.doubted() else level.peak_rss_bytes


def _start(architecture: Architecture) -> Estimate | None:
    """Doubted where some starts failed, for the others are a choice, and where everything else about it is."""
    started = architecture.deployment
    if started is None or started.failed or all(level.doubted() for level in architecture.levels):
        return None
    return started.cold_start_ns


def _least(what: str, known: Mapping[str, Estimate | None], show: Callable[[float], str]) -> list[str]:
    """Nothing where there is no figure; ``None`` stands for one that is doubted or missing."""
    given = {name: each for name, each in known.items() if each is not None}
    absent = [name for name in known if name not in given]
    if given and absent and len(given) < 2:
        return [f"Least {what}: not decided, for no two figures are undoubted."]
    if len(given) < 2:
        return []
    best = leaders(given, higher_is_better=False)
    figures = ", ".join(
        f"{name} {show(each.value)}" for name, each in sorted(given.items(), key=lambda item: item[1].value)
    )
    who = best[0] if len(best) == 1 else f"{_listed(sorted(best))} level"
    without = f", without {_listed(absent)}, doubted or missing" if absent else ""
    return [f"Least {what}: {who} ({figures}){without}."]


def _listed(names: Sequence[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last
