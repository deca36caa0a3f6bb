"""Artifacts of earlier nights, found by their bytes instead of by what they were made from."""

from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from export.cache import Cache
from nightbench.model import Artifact, TensorSpec

__all__ = ["kept_artifact"]


def kept_artifact(cache: Path, sha256: str, like: Artifact) -> Artifact | None:
    """The artifact of that hash, of the same model, format and precision as ``like``; ``None`` if ``cache`` has it
    no longer."""
    entry = Cache(cache, may_make=False).holding(sha256)
    if entry is None:
        return None
    tensors = TypeAdapter(tuple[TensorSpec, ...])
    return replace(
        like,
        path=entry.path,
        sha256=entry.sha256,
        size_bytes=entry.size_bytes,
        exporter=entry.facts.get("exporter", {}),
        export_ns=entry.made_ns,
        peak_rss_bytes=entry.peak_rss_bytes,
        inputs=tensors.validate_python(entry.facts.get("inputs", ())),
        outputs=tensors.validate_python(entry.facts.get("outputs", ())),
    )
