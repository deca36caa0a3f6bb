"""A model that is made of others."""

from nightbench.model import ModelSpec

__all__ = ["version"]


def version(own: int, *parts: ModelSpec) -> int:
    """The version of a model made of ``parts``: rises with its ``own``, counted from 1, and with that of each."""
    return own + sum(part.version - 1 for part in parts)
