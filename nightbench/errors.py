"""The failures nightbench tells apart, because each is answered differently."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["DeploymentError", "ExportError", "NightbenchError", "UsageError", "nearest"]


class NightbenchError(Exception):
    """Any failure nightbench itself names."""

    exit_code = 1
    """What the `nightbench` command ends with."""


class UsageError(NightbenchError):
    """What the user asked for cannot be done: one sentence, before any work starts."""

    exit_code = 2


class ExportError(NightbenchError):
    """One model could not be turned into one format; the night goes on without the cells that need it."""


class DeploymentError(NightbenchError):
    """One server did not come up, died, or answered wrongly; the night goes on without its cells."""

    def __init__(self, kind: str, detail: str, log_tail: str = "") -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        """Machine-readable: ``died``, ``not_ready``, ``wrong_answer``, ``no_environment``, ``no_port``; of containers
        also ``no_engine``, ``no_image``, ``no_gpu``, ``no_disk``."""
        self.detail = detail
        self.log_tail = log_tail


def nearest(value: str, known: Iterable[str]) -> str:
    """The remedy half of an unknown-name sentence: the closest known name, or all of them."""
    names = sorted(known)
    close = get_close_matches(value, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"
