"""How a caller tells whoever waits on its behalf to give up: a function that is asked now and then."""

from nightbench.errors import NightbenchError

__all__ = ["Stopped", "never"]


class Stopped(NightbenchError):
    """Something was given up because ``should_stop`` said so; whatever it had started is ended."""


def never() -> bool:
    """The ``should_stop`` of a caller that never stops anything."""
    return False
