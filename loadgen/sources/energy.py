"""A GPU's energy over a window, from its own counter, and whether that can be believed.

NVML: ``nvmlDeviceGetTotalEnergyConsumption`` counts millijoules "since the driver was last reloaded", on Volta and
newer.
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["ENERGY_COUNTER", "energy"]

ENERGY_COUNTER = "energy_counter_mj"
_SHORTEST_NS = 1_000_000_000
"""The counter is refreshed every 20 to 100 ms: below a second that alone is a tenth."""
_MOST_APART = 0.25
"""Of the power's integral. NVML's power is a mean over a second on newer boards and good to 5 %, and the samples see a
load begin or end up to an interval late; a counter further off is a counter of something else."""

_Points = Sequence[tuple[int, float]]


def energy(counter_mj: _Points, power_w: _Points, start_ns: int, end_ns: int) -> dict[str, float]:
    """``energy_j`` over [start_ns, end_ns] and ``energy_valid``; points are (nanoseconds, value) inside it.

    Nothing where the counter does not exist or was read less than twice. The samples do not reach the window's edges,
    so the mean power between the first and the last stands for the rest. ``energy_valid`` is 0, and then stands
    alone, where the counter stood still or ran backwards (the driver was reloaded), saw too short a time, or is not
    what the power adds up to.
    """
    if len(counter_mj) < 2:
        return {}
    (first_ns, _), (last_ns, _) = counter_mj[0], counter_mj[-1]
    readings = np.array([value for _, value in counter_mj])
    joules = float(readings[-1] - readings[0]) / 1000.0
    believed = last_ns - first_ns >= _SHORTEST_NS and joules > 0.0 and bool((np.diff(readings) >= 0.0).all())
    if believed and len(power_w) >= 2 and power_w[-1][0] > power_w[0][0]:
        seconds = np.array([at_ns - power_w[0][0] for at_ns, _ in power_w]) * 1e-9
        mean_w = float(np.trapezoid([value for _, value in power_w], seconds)) / float(seconds[-1])
        integral = mean_w * (last_ns - first_ns) * 1e-9
        believed = abs(joules - integral) <= _MOST_APART * integral
    if not believed:
        return {"energy_valid": 0.0}
    return {"energy_j": joules * (end_ns - start_ns) / (last_ns - first_ns), "energy_valid": 1.0}
