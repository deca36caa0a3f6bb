"""Tonight against a median, and a threshold of some per cent."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.judge.rivals.nightly import Nightly, directed

__all__ = ["LAST_SEVEN", "PYTORCH_HUD"]

_HUD_THRESHOLD = 0.2
_HUD_DAYS = 3


def _last_seven(values: NDArray[np.float64]) -> NDArray[np.int8]:
    change = values[:, -1] / np.median(values[:, -8:-1], axis=1) - 1.0
    return directed(np.abs(change) > 0.1, change)


def _pytorch_hud(values: NDArray[np.float64]) -> NDArray[np.int8]:
    """pytorch/test-infra, aws/lambda/benchmark_regression_summary_report: latency of the operator microbenchmarks. The
    median of three days is the baseline for the three after them; a regression is when the last two or more of these
    are 20 % off it. It looks one way; here both, a fall by the mirrored threshold."""
    baseline = np.median(values[:, -2 * _HUD_DAYS : -_HUD_DAYS], axis=1)[:, None]
    change = values[:, -2:] / baseline - 1.0
    rings = np.all(change > _HUD_THRESHOLD, axis=1) | np.all(change < -_HUD_THRESHOLD, axis=1)
    return directed(np.asarray(rings), change[:, -1])


LAST_SEVEN = Nightly("10 % off the last 7's median", _last_seven)
PYTORCH_HUD = Nightly("PyTorch HUD: 20 %, two nights", _pytorch_hud)
