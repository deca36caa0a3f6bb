"""What is asked of this room for one model in one format, and what it hands back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from export.artifact import export_model
from export.cache import Cache
from export.parity import checked
from export.pool import make_pool
from nightbench.model import Artifact, Format, InputPool, ModelSpec, Precision
from nightbench.parity import OutputParity

__all__ = ["Job", "Prepared", "prepare_with"]


@dataclass(frozen=True, slots=True)
class Job:
    """One model in one format."""

    spec: ModelSpec
    format: Format
    precision: Precision
    weights: str
    """``random``, a hub id with an optional ``@revision``, or a folder made by ``save_pretrained``."""
    cache: Path
    """`nightbench.settings.Settings.artifacts`: artifacts, pools and parity results lie side by side."""
    pool_count: int
    batches: tuple[int, ...]
    """The batch sizes of the parity check."""
    tools: Mapping[str, Path] = field(default_factory=dict)
    """The interpreter of each environment that the format's exporter needs."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is needed to measure one model in one format."""

    artifact: Artifact
    pool: InputPool
    parity: tuple[OutputParity, ...]
    """One result an output and batch size. A failed one is a result: whoever measures decides what it means."""
    cached: bool
    """Whether the artifact was there already."""
    rebuilt: str | None = None
    """Which cached files were found broken and made anew, in words."""


def prepare_with(cache: Cache, job: Job) -> Prepared:
    """Export, draw inputs and check, each through ``cache``; `export.cache.NotCached` if it may not make them."""
    artifact, cached = export_model(job.spec, job.format, job.precision, job.weights, cache, job.tools)
    pool = make_pool(job.spec, job.weights, job.pool_count, cache)
    parity = checked(job.spec, artifact, pool, job.batches, cache, job.tools)
    return Prepared(artifact, pool, parity, cached, "; ".join(cache.rebuilt) or None)
