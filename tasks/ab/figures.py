"""The figure of a series in one measurement."""

from nightbench.figures import Doubt
from nightbench.judge.metrics import doubts_of, figure_in
from nightbench.judge.series import Metric
from nightbench.record import MeasurementRecord

__all__ = ["figure"]


def figure(record: MeasurementRecord, metric: Metric) -> float | Doubt | None:
    """Its value; why it is doubted; ``None`` where the measurement has no such figure, or none that is positive."""
    for doubt in doubts_of(record, metric):
        return doubt
    estimate = figure_in(record, metric)
    return None if estimate is None else estimate.value
