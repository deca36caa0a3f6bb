"""Every model in every format and precision: what is there, how well it agrees, what it took."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from dashboards.report import format as fmt
from export.formats.base import exporter
from export.isolated import Prepared
from launch.here import absent
from nightbench.errors import NightbenchError
from nightbench.model import Format, ModelSpec, Precision
from nightbench.plan import Export

__all__ = ["Entry", "entries", "every_export", "printed", "told"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One model in one format and precision. With nothing beside its name, it was never exported here."""

    export: Export
    prepared: Prepared | None = None
    failure: str | None = None
    lacks: tuple[str, ...] = ()
    """What this machine would need for it."""

    @property
    def state(self) -> str:
        if self.lacks:
            return f"needs {', '.join(self.lacks)}"
        if self.failure is not None:
            return "failed"
        if self.prepared is None:
            return "not exported"
        return "within tolerance" if all(each.passed for each in self.prepared.parity) else "strays"

    @property
    def sound(self) -> bool:
        return self.failure is None and self.state != "strays"


def every_export(
    models: Iterable[ModelSpec], formats: Iterable[Format], precisions: Iterable[Precision]
) -> list[Export]:
    """All combinations that there can be."""
    return [
        Export(model.name, file_format, precision, model.default_weights)
        for model in models
        for file_format in model.formats
        if file_format in set(formats)
        for precision in file_format.precisions
        if precision in set(precisions)
    ]


def entries(exports: Iterable[Export], prepare: Callable[[Export], Prepared | None], width: int) -> Iterator[Entry]:
    """An entry for each, as it is done, ``width`` at a time. What ``prepare`` raises is its failure."""

    def entry(export: Export) -> Entry:
        if lacks := absent(exporter(export.format).needs):
            return Entry(export, lacks=lacks)
        try:
            return Entry(export, prepare(export))
        except NightbenchError as error:
            return Entry(export, failure=str(error))

    with ThreadPoolExecutor(width, thread_name_prefix="export") as threads:
        for done in as_completed([threads.submit(entry, export) for export in exports]):
            yield done.result()


def told(entry: Entry) -> dict[str, Any]:
    """Everything about it, as JSON values."""
    export, prepared = entry.export, entry.prepared
    said: dict[str, Any] = {
        "model": export.model,
        "format": export.format,
        "precision": export.precision,
        "weights": export.weights,
        "state": entry.state,
        "failure": entry.failure,
    }
    if prepared is None:
        return said
    artifact = prepared.artifact
    return said | {
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "export_ns": artifact.export_ns,
        "peak_rss_bytes": artifact.peak_rss_bytes,
        "reproducible": artifact.reproducible,
        "cached": prepared.cached,
        "exporter": dict(artifact.exporter),
        "parity": [
            {
                "output": each.output,
                "batch": each.batch,
                "max_abs": each.max_abs,
                "max_rel": each.max_rel,
                "rmse": each.rmse,
                "nrmse": each.nrmse,
                "cosine": each.cosine,
                "top1_agreement": each.top1_agreement,
                "top5_agreement": each.top5_agreement,
                "passed": each.passed,
                "detail": each.detail,
                "diverges_at": each.diverges_at,
            }
            for each in prepared.parity
        ],
    }


def printed(entry: Entry) -> dict[str, str]:
    """Its row in the terminal: of several outputs and batch sizes, the one that stands farthest away."""
    export, prepared = entry.export, entry.prepared
    row = {"model": export.model, "format": str(export.format), "precision": str(export.precision)}
    if prepared is None:
        return (
            row
            | dict.fromkeys(("size", "export took", "peak memory", "max abs", "RMS share", "cosine", "top-1"), "")
            | {"state": entry.failure or entry.state}
        )
    artifact = prepared.artifact
    worst = max(prepared.parity, key=lambda each: (not each.passed, each.nrmse))
    strays = f"; it strays first at {worst.diverges_at}" if worst.diverges_at else ""
    return row | {
        "size": fmt.size(artifact.size_bytes),
        "export took": fmt.in_words(artifact.export_ns),
        "peak memory": fmt.size(artifact.peak_rss_bytes),
        "max abs": fmt.scientific(worst.max_abs),
        "RMS share": fmt.scientific(worst.nrmse),
        "cosine": f"{worst.cosine:.7f}",
        "top-1": "" if worst.top1_agreement is None else f"{worst.top1_agreement:.0%}",
        "state": entry.state if worst.passed else f"strays: {worst.detail}{strays}",
    }
