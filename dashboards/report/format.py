"""Numbers as a reader wants them: a unit, the digits the interval can carry, and the interval itself.

Pure functions from values to text. Nothing here knows HTML.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import floor, isfinite, log10

from nightbench.figures import Estimate

__all__ = [
    "NOTHING",
    "Shown",
    "bare",
    "count",
    "duration",
    "in_words",
    "inferences",
    "latency",
    "memory",
    "number",
    "percent",
    "power",
    "rate",
    "scientific",
    "share",
    "short",
    "size",
    "times",
    "tokens",
]

NOTHING = "\N{EN DASH}"
"""What stands where there is no figure."""

_DIGITS = 3
_MOST_DIGITS = 5
_NS_PER_US = 1e3
_NS_PER_MS = 1e6
_NS_PER_S = 1e9
_MIB = 2.0**20


@dataclass(frozen=True, slots=True)
class Shown:
    """A figure as text, its 95 % interval apart so that a table may set it smaller."""

    value: str
    unit: str = ""
    interval: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.value, self.unit, self.interval) if part)


def number(value: float, decimals: int) -> str:
    """``value`` with thousands separated and no minus sign on a zero."""
    text = f"{value:,.{decimals}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text


def times(estimate: Estimate, factor: float) -> Estimate:
    """The figure and its bounds, all multiplied: inferences a second from requests of several inputs."""
    low, high = (None if bound is None else bound * factor for bound in (estimate.low, estimate.high))
    return Estimate(estimate.value * factor, low, high)


def percent(estimate: Estimate | None) -> Shown:
    """Percent of one processor, or of one GPU."""
    return _shown(estimate, "%", 1)


def power(estimate: Estimate | None) -> Shown:
    return _shown(estimate, "W", 1)


def bare(estimate: Estimate | None) -> Shown:
    """A figure without a unit."""
    return _shown(estimate, "", 1)


def count(value: int) -> str:
    return f"{value:,}"


def share(part: float, whole: float) -> str:
    """A share in percent; small but present shares are never shown as none."""
    if whole <= 0:
        return NOTHING
    percent = 100 * part / whole
    return "<0.1 %" if 0 < percent < 0.1 else f"{percent:.1f} %"


def scientific(value: float) -> str:
    """A deviation, which may be many orders of magnitude below one."""
    return "0" if value == 0 else f"{value:.2g}"


def latency(estimate: Estimate | None) -> Shown:
    """Nanoseconds as milliseconds: ``4.52 ms [4.47, 4.61]``."""
    return _shown(estimate, "ms", _NS_PER_MS)


def rate(estimate: Estimate | None) -> Shown:
    """Requests a second."""
    return _shown(estimate, "rps", 1)


def inferences(estimate: Estimate | None) -> Shown:
    """Inferences a second: of requests with several inputs each, more than requests."""
    return _shown(estimate, "inferences/s", 1)


def tokens(estimate: Estimate | None) -> Shown:
    """Output tokens a second."""
    return _shown(estimate, "tokens/s", 1)


def duration(estimate: Estimate | None) -> Shown:
    """Nanoseconds as seconds from one second up, else as milliseconds."""
    if estimate is not None and estimate.value >= _NS_PER_S:
        return _shown(estimate, "s", _NS_PER_S)
    return _shown(estimate, "ms", _NS_PER_MS)


def short(estimate: Estimate | None) -> Shown:
    """Nanoseconds as microseconds: the times of the client itself."""
    return _shown(estimate, "µs", _NS_PER_US)


def memory(estimate: Estimate | None) -> Shown:
    """Bytes as MiB, or as GiB from one GiB up."""
    if estimate is not None and estimate.value >= 1024 * _MIB:
        return _shown(estimate, "GiB", 1024 * _MIB)
    return _shown(estimate, "MiB", _MIB)


def size(value_bytes: int | None) -> str:
    """The size of a file."""
    if value_bytes is None:
        return NOTHING
    if value_bytes < 2**10:
        return f"{value_bytes} B"
    if value_bytes < 2**20:
        return str(_shown(Estimate(value_bytes), "KiB", 2**10, bare=True))
    return str(_shown(Estimate(value_bytes), "MiB", _MIB, bare=True))


def in_words(elapsed_ns: float) -> str:
    """A span of wall time: ``850 ms``, ``12.3 s``, ``4 min 05 s``, ``7 h 02 min``."""
    # Each limit is where rounding would show one of the next unit: never 1000 ms or 60.0 s.
    if elapsed_ns < 0.9995 * _NS_PER_S:
        return f"{elapsed_ns / _NS_PER_MS:.0f} ms"
    if elapsed_ns < 59.95 * _NS_PER_S:
        return f"{elapsed_ns / _NS_PER_S:.1f} s"
    seconds = round(timedelta(microseconds=elapsed_ns / 1e3).total_seconds())
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def _shown(estimate: Estimate | None, unit: str, scale: float, *, bare: bool = False) -> Shown:
    if estimate is None or not isfinite(estimate.value):
        return Shown(NOTHING)
    value = estimate.value / scale
    low = None if estimate.low is None else estimate.low / scale
    high = None if estimate.high is None else estimate.high / scale
    decimals = _decimals(value, low, high)

    def text(figure: float) -> str:
        return number(figure, decimals)

    return Shown(text(value), unit, "" if bare else _interval(low, high, text))


def _interval(low: float | None, high: float | None, text: Callable[[float], str]) -> str:
    """Both bounds, the one that is known, or a dash: an unknown bound is never left to be guessed."""
    if low is not None and high is not None:
        return f"[{text(low)}, {text(high)}]"
    if low is not None:
        return f"[≥ {text(low)}]"
    if high is not None:
        return f"[≤ {text(high)}]"
    return f"[{NOTHING}]"


def _decimals(value: float, low: float | None, high: float | None) -> int:
    """Three significant digits, or as many more, up to five, as a narrow interval needs to be seen."""
    magnitude = floor(log10(abs(value))) if value else 0
    decimals = _DIGITS - 1 - magnitude
    if low is not None and high is not None and high > low:
        decimals = max(decimals, -floor(log10(high - low)))
    return max(0, min(decimals, _MOST_DIGITS - 1 - magnitude))
