"""One model in one format, as a cached file or folder."""

from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from export import zoo
from export.cache import Cache, Request
from export.formats.base import exporter, versions
from nightbench.errors import ExportError
from nightbench.model import Artifact, Format, ModelSpec, Precision

__all__ = ["export_model", "weights_facts"]


def weights_facts(weights: str) -> Mapping[str, str]:
    """What tells one set of weights from another without reading it all.

    A local folder is told by its files' names, sizes and times; a hub id by itself and its ``@revision``, so weights
    that move under an unchanged id are not noticed.
    """
    folder = Path(weights)
    if weights == "random" or not folder.is_dir():
        return {"weights": weights}
    states = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    lines = [f"{path.relative_to(folder)} {state.st_size} {state.st_mtime_ns}" for path, state in states]
    return {"weights": weights, "files": sha256("\n".join(lines).encode()).hexdigest()}


def export_model(
    spec: ModelSpec, file_format: Format, precision: Precision, weights: str, cache: Cache
) -> tuple[Artifact, bool]:
    """The artifact, and whether it was cached. Raises `nightbench.errors.ExportError`."""
    if file_format not in spec.formats:
        raise ExportError(f"model {spec.name} is not to be had as {file_format}; use {', '.join(spec.formats)}")
    kind = exporter(file_format)
    request = Request(
        label=f"{spec.name}-{file_format}-{precision}",
        suffix=kind.suffix,
        facts={
            "model": asdict(spec),
            **weights_facts(weights),
            "format": file_format,
            "precision": precision,
            "exporter": kind.version,
            "versions": versions(*kind.tools),
        },
        purpose=f"exporting {spec.name} to {file_format}",
    )

    def make(path: Path) -> Mapping[str, Any]:
        facts = kind.export(zoo.build(spec, weights), spec, path)
        return {
            "exporter": {**facts, "seed": str(spec.seed)},
            "inputs": [asdict(tensor) for tensor in spec.inputs],
            "outputs": [asdict(tensor) for tensor in spec.outputs],
        }

    entry = cache.get(request, make)
    artifact = Artifact(
        model=spec.name,
        format=file_format,
        precision=precision,
        weights=weights,
        path=entry.path,
        sha256=entry.sha256,
        size_bytes=entry.size_bytes,
        exporter=entry.facts["exporter"],
        export_ns=entry.made_ns,
        reproducible=kind.reproducible,
    )
    return artifact, entry.cached
