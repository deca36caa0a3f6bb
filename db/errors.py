"""The failures of storing: both leave every record that was spooled in the spool."""

from nightbench.errors import NightbenchError

__all__ = ["DatabaseDown", "SpoolError"]


class DatabaseDown(NightbenchError):
    """The database did not answer, or went away in the middle; what was being written was rolled back."""


class SpoolError(NightbenchError):
    """A record could not be put safely on disk: the disk is full or failing. Nothing of it counts as written."""
