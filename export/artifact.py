"""One model in one format, as a cached file or folder."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from export import models
from export.cache import Cache, NotCached, Request
from export.custom_file import adopt, file_facts, given_as
from export.environments import ENVIRONMENTS
from export.formats.base import Work, exporter, graph_facts, versions
from export.gpu import gpu_facts
from export.tensors import tensors
from nightbench.errors import ExportError
from nightbench.model import Artifact, Format, ModelSpec, Precision, TensorSpec

__all__ = ["export_model", "found_artifact", "weights_facts"]

_VERSION = 1
"""Raised when a manifest says more than before, or something else."""


def weights_facts(weights: str) -> Mapping[str, str]:
    """What tells one set of weights from another without reading it all.

    A local folder is told by its files' names, sizes and times; a hub id by itself and its ``@revision``, so weights
    that move under an unchanged id are not noticed.
    """
    folder = Path(weights)
    if weights == "random" or not folder.is_dir():
        return {"weights": weights}
    try:
        states = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    except OSError as error:
        raise ExportError(f"weights {error.filename} cannot be read: {error.strerror}") from error
    lines = [f"{path.relative_to(folder)} {state.st_size} {state.st_mtime_ns}" for path, state in states]
    return {"weights": weights, "files": sha256("\n".join(lines).encode()).hexdigest()}


def export_model(
    spec: ModelSpec, file_format: Format, precision: Precision, weights: str, cache: Cache, tools: Mapping[str, Path]
) -> tuple[Artifact, bool]:
    """The artifact, and whether it was cached. Raises `nightbench.errors.ExportError`."""
    if precision not in file_format.precisions:
        raise ExportError(f"{file_format} is not to be had in {precision}; use {', '.join(file_format.precisions)}")
    if file_format not in spec.formats:
        raise ExportError(f"model {spec.name} is not to be had as {file_format}; use {', '.join(spec.formats)}")
    kind = exporter(file_format)
    request = Request(
        label=f"{spec.name}-{file_format}-{precision}",
        suffix=kind.suffix,
        facts={
            "model": graph_facts(spec),
            **weights_facts(weights),
            **file_facts(spec),
            **(gpu_facts() if "gpu" in kind.needs else {}),
            "format": file_format,
            "precision": precision,
            "exporter": kind.version,
            "manifest": _VERSION,
            "versions": versions(*kind.tools),
            "environments": {name: ENVIRONMENTS[name].fingerprint for name in kind.environments},
        },
        purpose=f"exporting {spec.name} to {file_format}",
    )

    def source(other: Format, at: Precision) -> Path:
        return export_model(spec, other, at, weights, cache, tools)[0].path

    def write(path: Path) -> Mapping[str, str]:
        if given_as(spec) == (file_format, precision):
            return adopt(spec, path)
        module, stages = partial(models.build, spec, weights), partial(models.stages, spec, weights)
        return kind.export(Work(spec, weights, precision, module, stages, source, tools), path)

    def make(path: Path) -> Mapping[str, Any]:
        facts = write(path)
        inputs, outputs = tensors(path, file_format, spec) or ((), ())
        return {
            "exporter": {**facts, "seed": str(spec.seed)},
            "inputs": [asdict(tensor) for tensor in inputs],
            "outputs": [asdict(tensor) for tensor in outputs],
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
        peak_rss_bytes=entry.peak_rss_bytes,
        inputs=_tensors(entry.facts["inputs"]),
        outputs=_tensors(entry.facts["outputs"]),
    )
    return artifact, entry.cached


def _tensors(stored: Any) -> tuple[TensorSpec, ...]:
    return TypeAdapter(tuple[TensorSpec, ...]).validate_python(stored)


def found_artifact(
    spec: ModelSpec, file_format: Format, precision: Precision, weights: str, root: Path
) -> Artifact | None:
    """The artifact, if it lies whole in the cache at ``root``, whatever it was compared with."""
    try:
        return export_model(spec, file_format, precision, weights, Cache(root, may_make=False), {})[0]
    except NotCached:
        return None
