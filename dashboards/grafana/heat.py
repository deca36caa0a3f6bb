"""The rows of the latency heat map, in SQL: for Grafana a column each, in this order, named by its upper bound."""

from nightbench.latency_steps import STEPS_NS

__all__ = ["columns"]

_UNITS = {"s": 10**9, "ms": 10**6, "µs": 10**3}


def columns() -> str:
    """One sum a step over ``latency_nights``; the last, of what is longer than all others, says so."""
    names = [*map(_named, STEPS_NS[:-1]), f"> {_named(STEPS_NS[-2])}"]
    return ", ".join(
        f'coalesce(sum(requests) FILTER (WHERE upper_ns = {upper}), 0)::DOUBLE PRECISION AS "{name}"'
        for upper, name in zip(STEPS_NS, names, strict=True)
    )


def _named(upper_ns: int) -> str:
    unit, size = next((unit, size) for unit, size in _UNITS.items() if upper_ns >= size)
    return f"{upper_ns / size:g} {unit}"
