"""Stage: make sure models exist as files, and that the files still compute the same numbers."""

import os
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import psutil

from export.environments import ENVIRONMENTS
from export.failure import clean, one_line
from export.formats.base import exporter
from export.isolated import Prepared, prepare
from launch.environment import ensure_environment
from nightbench.errors import DeploymentError, ExportError
from nightbench.model import Artifact, Format, InputPool, Precision
from nightbench.plan import Export
from nightbench.record import ArtifactRecord, ParityRecord
from nightbench.settings import Settings
from nightbench.stopping import Stopped, never
from nightbench.suite import ExportLimits
from tasks.session import Session

__all__ = [
    "POOL_COUNT",
    "Exported",
    "Unusable",
    "export_all",
    "export_model",
    "export_width",
    "tools_for",
]

POOL_COUNT = 16
"""Distinct inputs per model: more than any server here could remember by accident, small enough to prebuild."""


@dataclass(frozen=True, slots=True)
class Exported:
    """An artifact fit for measuring, with the inputs to send it and the answers to expect."""

    artifact: Artifact
    pool: InputPool


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why cells that need this export are not timed."""

    parity: bool
    """Whether the export exists but computes other numbers."""
    detail: str


def export_model(session: Session, export: Export) -> Exported | Unusable:
    """Export (or find in the cache), check parity, and leave a record of both."""
    return export_all(session, [export])[export]


def export_all(session: Session, exports: Collection[Export]) -> dict[Export, Exported | Unusable]:
    """As `export_model`, several at once as far as processors and memory reach; each is on record as soon as it ends.

    What fails costs itself alone. `Cancelled` soon after the session is asked to stop; nothing is left running then.
    """
    session.check_stop()
    over = threading.Event()

    def should_stop() -> bool:
        return over.is_set() or session.should_stop()

    done: dict[Export, Exported | Unusable] = {}
    after = _after(exports)
    width = export_width(_memory_bytes(session))
    with session.ledger.span("export"), ThreadPoolExecutor(width, thread_name_prefix="export") as threads:

        def begin(chosen: Collection[Export]) -> "dict[Future[Prepared | ExportError], Export]":
            return {threads.submit(_prepared, session, each, should_stop): each for each in chosen}

        try:
            running = begin([each for each in exports if after[each] is None])
            while running:
                session.progress.doing(_doing(running.values()))
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    export = running.pop(future)
                    done[export] = _recorded(session, export, future.result())
                    running |= begin([each for each in exports if after[each] == export])
        except Stopped as stopped:
            raise session.cancelled() from stopped
        finally:
            over.set()
            threads.shutdown(wait=False, cancel_futures=True)
    return {export: done[export] for export in exports}


def export_width(memory_bytes: float = ExportLimits().memory_gib * 2**30) -> int:
    """How many exports to run at once: each has two threads, and may hold ``memory_bytes``."""
    available = psutil.virtual_memory().available
    return max(min(len(os.sched_getaffinity(0)) // 2, int(available // memory_bytes)), 1)


def tools_for(
    settings: Settings,
    file_format: Format,
    log: Path,
    doing: Callable[[str], None],
    should_stop: Callable[[], bool] = never,
) -> Mapping[str, Path]:
    """The interpreter of each environment that the format's exporter needs beside ours, built where it is not yet.

    ``doing`` is told what takes time, and uv's noise goes to ``log``. Raises `ExportError` where one cannot be built,
    and `Stopped`.
    """
    try:
        return {
            name: ensure_environment(
                ENVIRONMENTS[name], settings.server_environments, settings.environments, doing, log, should_stop
            ).python
            for name in exporter(file_format).environments
        }
    except DeploymentError as error:
        raise ExportError(f"{file_format} cannot be made here: {error.detail}") from error


def _after(exports: Collection[Export]) -> dict[Export, Export | None]:
    """For each export the one to wait for.

    All exports of a model need its input pool, and most formats are made from its ONNX. So that none waits, with its
    libraries loaded, for what another is making, the first of a model goes ahead of the rest: ONNX, if asked for.
    """
    first: dict[tuple[str, str], Export] = {}
    for export in exports:
        model = export.model, export.weights
        if model not in first or (export.format, export.precision) == (Format.ONNX, Precision.FP32):
            first[model] = export
    found = {export: first[export.model, export.weights] for export in exports}
    return {export: None if leader == export else leader for export, leader in found.items()}


def _doing(exports: Collection[Export]) -> str:
    """All that is asked for and not done, of which only the first few are at work."""
    first = next(iter(exports))
    more = f" and {len(exports) - 1} more" if len(exports) > 1 else ""
    return f"exporting {first.model} to {first.format}{more}"


def _memory_bytes(session: Session) -> int:
    return int(session.suite.export.memory_gib * 2**30)


def _prepared(session: Session, export: Export, should_stop: Callable[[], bool]) -> Prepared | ExportError:
    """The work itself, for any thread: it leaves no record and tells no progress."""
    if should_stop():
        raise Stopped(f"exporting {export.model} to {export.format} was stopped")
    try:
        return prepare(
            session.catalog.models[export.model],
            export.format,
            export.precision,
            export.weights,
            cache=session.settings.artifacts,
            pool_count=POOL_COUNT,
            batches=session.suite.parity_batches,
            log=session.folder / "logs" / f"export-{export.model}-{export.format}-{export.precision}.log",
            timeout_s=session.suite.export.timeout_s,
            memory_bytes=_memory_bytes(session),
            tools=tools_for(
                session.settings,
                export.format,
                session.folder / "logs" / f"environment-{export.format}.log",
                _ignored,
                should_stop,
            ),
            should_stop=should_stop,
        )
    except ExportError as error:
        return ExportError(clean(str(error)))
    except OSError as error:  # of a disk, or a file that is gone meanwhile: one model's affair as well
        return ExportError(f"exporting {export.model} to {export.format} failed: {one_line(error)}")


def _recorded(session: Session, export: Export, prepared: Prepared | ExportError) -> Exported | Unusable:
    """Put on record what became of an export, and say what it means for its cells."""
    if isinstance(prepared, ExportError):
        session.record(_failed(session, export, str(prepared)))
        session.progress.note(f"export of {export.model} to {export.format} failed: {prepared}")
        return Unusable(parity=False, detail=str(prepared))
    if prepared.rebuilt:
        session.progress.note(f"rebuilt {export.model} {export.format}: {prepared.rebuilt}")
    artifact = prepared.artifact
    session.record(
        ArtifactRecord(
            run_id=session.run_id,
            model=export.model,
            model_version=session.catalog.models[export.model].version,
            format=export.format,
            precision=export.precision,
            weights=export.weights,
            sha256=artifact.sha256,
            size_bytes=artifact.size_bytes,
            export_ns=artifact.export_ns,
            cached=prepared.cached,
            exporter=artifact.exporter,
            reproducible=artifact.reproducible,
            peak_rss_bytes=artifact.peak_rss_bytes or None,
        )
    )
    for output in prepared.parity:
        session.record(
            ParityRecord(
                run_id=session.run_id,
                model=export.model,
                format=export.format,
                precision=export.precision,
                artifact_sha256=artifact.sha256,
                output=output.output,
                batch=output.batch,
                max_abs=output.max_abs,
                max_rel=output.max_rel,
                cosine=output.cosine,
                top1_agreement=output.top1_agreement,
                passed=output.passed,
                detail=output.detail,
                rmse=output.rmse,
                nrmse=output.nrmse,
                top5_agreement=output.top5_agreement,
                diverges_at=output.diverges_at,
            )
        )
    worst = next((output for output in prepared.parity if not output.passed), None)
    if worst is not None:
        detail = f"output {worst.output!r} at batch {worst.batch}: {worst.detail}"
        session.progress.note(f"parity of {export.model} {export.format} broke: {detail}")
        return Unusable(parity=True, detail=detail)
    return Exported(artifact, prepared.pool)


def _ignored(_: str) -> None:
    """Progress is told by the night's own thread."""


def _failed(session: Session, export: Export, failure: str) -> ArtifactRecord:
    return ArtifactRecord(
        run_id=session.run_id,
        model=export.model,
        model_version=session.catalog.models[export.model].version,
        format=export.format,
        precision=export.precision,
        weights=export.weights,
        sha256=None,
        size_bytes=None,
        export_ns=None,
        cached=False,
        exporter={},
        reproducible=False,
        failure=failure,
    )
