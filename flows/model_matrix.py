"""Every model in every format and precision: what is there, how well it agrees, what it took."""

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from dashboards.report import format as fmt
from export.formats.base import exporter
from export.isolated import Prepared
from launch.here import absent
from nightbench.errors import NightbenchError
from nightbench.model import Artifact, Format, ModelSpec, Precision
from nightbench.plan import Export

__all__ = ["Entry", "entries", "every_export", "printed", "told"]

_MADE = ("size", "export took", "peak memory")
_AGREES = ("max abs", "RMS share", "cosine", "top-1")


@dataclass(frozen=True, slots=True)
class Entry:
    """One model in one format and precision. With nothing beside its name, it was never exported here."""

    export: Export
    prepared: Prepared | None = None
    artifact: Artifact | None = None
    """Exported, but not compared at the batch sizes that are asked for."""
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
            return "not exported" if self.artifact is None else "not compared"
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


def entries(
    exports: Iterable[Export], look: Callable[[Export, Callable[[], bool]], Entry], width: int
) -> Generator[Entry]:
    """An entry for each, as it is done, ``width`` at a time. What ``look`` raises is its failure.

    It is given what turns true when the caller wants no more, and should return soon after. Of each model the first
    goes ahead of the rest, so that none waits for its inputs, or for the file that it is made from, to be made.
    """
    over = threading.Event()

    def entry(export: Export) -> Entry:
        if lacks := absent(exporter(export.format).needs):
            return Entry(export, lacks=lacks)
        try:
            return look(export, over.is_set)
        except NightbenchError as error:
            return Entry(export, failure=str(error))

    every = list(exports)
    first = list({export.model: export for export in reversed(every)}.values())
    with ThreadPoolExecutor(width, thread_name_prefix="export") as threads:
        try:
            for wave in (first, [export for export in every if export not in first]):
                for done in as_completed([threads.submit(entry, export) for export in wave]):
                    yield done.result()
        finally:
            over.set()
            threads.shutdown(wait=False, cancel_futures=True)


def told(entry: Entry) -> dict[str, Any]:
    """Everything about it, as JSON values."""
    export, prepared = entry.export, entry.prepared
    artifact = entry.artifact if prepared is None else prepared.artifact
    said: dict[str, Any] = {
        "model": export.model,
        "format": export.format,
        "precision": export.precision,
        "weights": export.weights,
        "state": entry.state,
        "failure": entry.failure,
    }
    if artifact is None:
        return said
    said |= {
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "export_ns": artifact.export_ns,
        "peak_rss_bytes": artifact.peak_rss_bytes,
        "reproducible": artifact.reproducible,
        "exporter": dict(artifact.exporter),
    }
    if prepared is None:
        return said
    return said | {
        "cached": prepared.cached,
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
    artifact = entry.artifact if prepared is None else prepared.artifact
    row = {"model": export.model, "format": str(export.format), "precision": str(export.precision)}
    if artifact is None:
        return row | dict.fromkeys((*_MADE, *_AGREES), "") | {"state": entry.failure or entry.state}
    made = (fmt.size(artifact.size_bytes), fmt.in_words(artifact.export_ns), fmt.size(artifact.peak_rss_bytes))
    row |= zip(_MADE, made, strict=True)
    if prepared is None:
        return row | dict.fromkeys(_AGREES, "") | {"state": entry.state}
    worst = max(prepared.parity, key=lambda each: (not each.passed, each.nrmse))
    strays = f"; it strays first at {worst.diverges_at}" if worst.diverges_at else ""
    agrees = (
        fmt.scientific(worst.max_abs),
        fmt.scientific(worst.nrmse),
        f"{worst.cosine:.7f}",
        "" if worst.top1_agreement is None else f"{worst.top1_agreement:.0%}",
    )
    row |= zip(_AGREES, agrees, strict=True)
    return row | {"state": entry.state if worst.passed else f"strays: {worst.detail}{strays}"}
