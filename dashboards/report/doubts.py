"""What each reason to doubt a figure means, and what a reader may still make of it."""

from dataclasses import dataclass

from nightbench.figures import Reason
from nightbench.summary import NightSummary

__all__ = ["Doubted", "doubted", "explain", "title"]


@dataclass(frozen=True, slots=True)
class Doubted:
    """One reason, and all that it concerns tonight."""

    title: str
    explanation: str
    cells: tuple[tuple[str, str, str], ...]
    """By key: what the cell is called, and the doubt in detail."""


_EXPLANATIONS = {
    Reason.TOO_FEW_SAMPLES: (
        "The window held too few requests for a quantile: beyond p99 lie only one in a hundred, so a few hundred "
        "requests say little about it. The quantile is left out or its interval is open. Measure longer."
    ),
    Reason.NOT_STATIONARY: (
        "The latency was still drifting while it was measured, so there is no single figure to report: a longer run "
        "would have given another one. Look for a server still warming up, a growing queue or a throttled processor."
    ),
    Reason.ERRORS: (
        "Some requests failed. Latency counts the successful ones only, and a server that fails quickly or sheds "
        "load looks faster than it is. Read the latency together with the error count."
    ),
    Reason.WRONG_OUTPUT: (
        "Some answers differed from PyTorch's by more than the model's tolerance. How fast a wrong answer came is "
        "no result."
    ),
    Reason.LATE_SENDS: (
        "The load generator itself sent requests late. Latency runs from the intended time, so part of it is the "
        "client's delay rather than the server's. The service time, from the moment of sending, is not affected."
    ),
    Reason.CLIENT_SATURATED: (
        "The load generator was close to the most it can do. The throughput may be the client's limit rather than "
        "the server's."
    ),
    Reason.RATE_MISSED: (
        "The rate that was asked for was not reached. The figures belong to the rate that was achieved, and must not "
        "be compared with those of servers that kept up."
    ),
    Reason.LITTLES_LAW: (
        "Requests in flight, throughput and latency do not fit together as Little's law says they must "
        "(L = λ W). At least one of them was measured wrongly."
    ),
    Reason.FOREIGN_LOAD: (
        "Something else kept the machine busy during the window. The server had less of it than it was promised."
    ),
    Reason.SERVER_DIED: (
        "The server stopped or hung while it was measured. The figures describe what it did until then."
    ),
    Reason.SERVER_COUNTS_DIFFER: (
        "The server's own count of requests differs from the client's. Requests were lost, repeated, answered from "
        "a cache, or came from someone else."
    ),
    Reason.FEW_ROUNDS: (
        "Too few fresh deployments for an interval between them. The spread from one start to the next is "
        "usually larger than the spread within one, so a figure from a single start may not come again."
    ),
    Reason.OVER_SATURATED: (
        "More was offered than the server could answer, so the backlog only grew and sending was ended early. The "
        "latency says no more than that: it would have grown for as long as one cared to send. The throughput is "
        "what the server does when overloaded."
    ),
    Reason.BIMODAL: (
        "The latencies fall into two groups, as with a cache that answers some requests or a batch that some "
        "requests just miss. A median between the groups describes neither: read the distribution instead."
    ),
    Reason.CLIENT_CEILING: (
        "The throughput came close to what the load generator itself reaches against a server that does nothing "
        "(see the client's own limits). A faster server might have looked the same."
    ),
    Reason.CONNECTIONS_SHORT: (
        "Every connection that the load generator may open was busy when a request was due, so the request waited in "
        "the client. Latency counts that wait, and the server never saw the load that was asked for."
    ),
    Reason.GPU_THROTTLED: (
        "The GPU lowered its clocks during the window, for heat or for power. Another night, or another machine, "
        "may find it faster."
    ),
    Reason.GPU_SHARED: (
        "Another process used the GPU during the window. The server had less of it than it was promised."
    ),
    Reason.CANARY_MOVED: (
        "The same small piece of work, repeated all night, took unusually long around this window. The machine "
        "itself was not as fast as in the rest of the night, whatever the server did."
    ),
    Reason.SEARCH_OPEN: (
        "The search ended without an answer that its steps support: it ran out of loads to try, or the figures of "
        "its steps are too uncertain to tell them apart. The answer bounds the true one at best."
    ),
    Reason.INCOMPLETE: (
        "Fewer rounds than planned were measured. The figures rest on fewer fresh starts than those of other cells, "
        "and what kept a round from being measured may have troubled the others as well."
    ),
    Reason.OUT_OF_RANGE: (
        "The quality gate found a figure that no server can have: negative, infinite, or so far off that its unit "
        "must be another. Something in the way of measuring is broken."
    ),
    Reason.QUANTILES_CROSS: (
        "A higher quantile lies below a lower one, or the time a request took beyond the time its user waited. One "
        "of the two figures is wrong."
    ),
    Reason.RATE_EXCEEDED: (
        "More requests were answered in a second than were sent. The window, or the counting, is wrong."
    ),
}

_SPELT = {
    Reason.LITTLES_LAW: "Little's law",
    Reason.OVER_SATURATED: "over-saturated",
    Reason.GPU_THROTTLED: "GPU throttled",
    Reason.GPU_SHARED: "GPU shared",
}


def title(reason: Reason) -> str:
    """The reason in words: ``late sends``."""
    return _SPELT.get(reason, reason.value.replace("_", " "))


def explain(reason: Reason) -> str:
    """One paragraph for a reader who meets the reason for the first time."""
    return _EXPLANATIONS[reason]


def doubted(night: NightSummary, names: dict[str, str]) -> list[Doubted]:
    """Every reason that occurs, the commonest first; ``names`` are those of cells by their keys."""
    found: dict[Reason, list[tuple[str, str, str]]] = {}
    for cell in night.cells:
        for doubt in cell.doubts:
            found.setdefault(doubt.reason, []).append((cell.cell_key, names[cell.cell_key], doubt.detail))
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [Doubted(title(reason), explain(reason), tuple(cells)) for reason, cells in ordered]
