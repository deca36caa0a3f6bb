"""How a caller tells this room to give up what it waits for."""

from nightbench.errors import NightbenchError

__all__ = ["Stopped", "never"]


class Stopped(NightbenchError):
    """A launch or an environment was given up because the run was told to stop."""


def never() -> bool:
    """The ``should_stop`` of a caller that never stops anything."""
    return False
