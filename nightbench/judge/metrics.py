"""Where a judged figure stands in a measurement, and which doubts concern it."""

import math
from collections.abc import Callable

from nightbench.figures import Doubt, Estimate
from nightbench.judge.series import Metric
from nightbench.record import MeasurementRecord

__all__ = ["concerns", "doubts_of", "figure_in"]

_READ: dict[Metric, tuple[Callable[[MeasurementRecord], Estimate | None], set[str]]] = {
    Metric.THROUGHPUT_RPS: (lambda each: each.throughput_rps, {"throughput", "throughput_rps"}),
    Metric.LATENCY_P50_NS: (lambda each: each.latency_ns.get("p50"), {"p50"}),
    Metric.LATENCY_P99_NS: (lambda each: each.latency_ns.get("p99"), {"p99"}),
    Metric.ANSWER_RPS: (lambda each: each.search.answer_rps if each.search else None, {"answer_rps"}),
    Metric.TOKENS_PER_S: (lambda each: each.stream.tokens_per_s if each.stream else None, {"tokens_per_s"}),
    Metric.TTFT_P50_NS: (lambda each: each.stream.ttft_ns.get("p50") if each.stream else None, {"ttft_p50"}),
    Metric.ITL_P50_NS: (lambda each: each.stream.itl_ns.get("p50") if each.stream else None, {"itl_p50"}),
}
"""With what `nightbench.figures.Doubt.figures` calls it."""


def figure_in(record: MeasurementRecord, metric: Metric) -> Estimate | None:
    """``None`` where the measurement has no such figure, or none that is positive and finite."""
    found = _READ[metric][0](record)
    return found if found is not None and 0.0 < found.value < math.inf else None


def concerns(doubt: Doubt, metric: Metric) -> bool:
    return doubt.whole_cell or not _READ[metric][1].isdisjoint(doubt.figures)


def doubts_of(record: MeasurementRecord, metric: Metric) -> list[Doubt]:
    """Those of one measurement that concern the figure."""
    return [doubt for doubt in record.doubts if concerns(doubt, metric)]
