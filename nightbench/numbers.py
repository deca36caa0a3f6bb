"""Numbers as text: as many digits as their interval can carry."""

from math import floor, isfinite, log10

from nightbench.figures import Estimate

__all__ = ["UNKNOWN", "decimals", "number", "with_interval"]

UNKNOWN = "\N{EN DASH}"
"""What stands where there is no figure."""

_DIGITS = 3
_MOST_DIGITS = 5


def number(value: float, places: int) -> str:
    """``value`` with thousands separated and no minus sign on a zero."""
    text = f"{value:,.{places}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text


def decimals(value: float, low: float | None, high: float | None) -> int:
    """Three significant digits, or as many more, up to five, as a narrow interval needs to be seen."""
    magnitude = floor(log10(abs(value))) if value else 0
    places = _DIGITS - 1 - magnitude
    if low is not None and high is not None and high > low:
        places = max(places, -floor(log10(high - low)))
    return max(0, min(places, _MOST_DIGITS - 1 - magnitude))


def with_interval(estimate: Estimate, unit: str, scale: float = 1.0) -> str:
    """``4.52 ms (4.47 to 4.61)``, in units of ``scale``; a bound that is not known is said not to be."""
    if not isfinite(estimate.value):
        return UNKNOWN
    value = estimate.value / scale
    low = None if estimate.low is None else estimate.low / scale
    high = None if estimate.high is None else estimate.high / scale
    places = decimals(value, low, high)
    if low is None and high is None:
        return f"{number(value, places)} {unit}"
    if low is None or high is None:
        bound = f"at least {number(low, places)}" if low is not None else f"at most {number(high or 0.0, places)}"
        return f"{number(value, places)} {unit} ({bound})"
    return f"{number(value, places)} {unit} ({number(low, places)} to {number(high, places)})"
