"""What each reason to doubt a figure means, and what a reader may still make of it."""

from nightbench.record import Reason

__all__ = ["explain", "title"]

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
}


def title(reason: Reason) -> str:
    """The reason in words: ``late sends``."""
    return reason.value.replace("_", " ").replace("littles law", "Little's law")


def explain(reason: Reason) -> str:
    """One paragraph for a reader who meets the reason for the first time."""
    return _EXPLANATIONS[reason]
