"""Stage: make sure a model exists as a file, and that the file still computes the same numbers."""

from dataclasses import dataclass

from export.isolated import prepare
from nightbench.errors import ExportError
from nightbench.model import Artifact, InputPool
from nightbench.plan import Export
from nightbench.record import ArtifactRecord, ParityRecord
from nightbench.stopping import Stopped
from tasks.session import Session

__all__ = ["Exported", "Unusable", "export_model"]

POOL_COUNT = 16
"""Distinct inputs per model: more than any server here could remember by accident, small enough to prebuild."""
EXPORT_TIMEOUT_S = 900.0


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
    session.check_stop()
    session.progress.doing(f"exporting {export.model} to {export.format}")
    spec = session.catalog.models[export.model]
    with session.ledger.span("export"):
        try:
            prepared = prepare(
                spec,
                export.format,
                export.precision,
                export.weights,
                cache=session.settings.artifacts,
                pool_count=POOL_COUNT,
                batches=session.suite.parity_batches,
                log=session.folder / "logs" / f"export-{export.model}-{export.format}.log",
                timeout_s=EXPORT_TIMEOUT_S,
                should_stop=session.should_stop,
            )
        except Stopped as stopped:
            raise session.cancelled() from stopped
        except ExportError as error:
            session.record(_failed(session, export, str(error)))
            session.progress.note(f"export of {export.model} to {export.format} failed: {error}")
            return Unusable(parity=False, detail=str(error))
    if prepared.rebuilt:
        session.progress.note(f"rebuilt {export.model} {export.format}: {prepared.rebuilt}")
    artifact = prepared.artifact
    session.record(
        ArtifactRecord(
            run_id=session.run_id,
            model=spec.name,
            model_version=spec.version,
            format=export.format,
            precision=export.precision,
            weights=export.weights,
            sha256=artifact.sha256,
            size_bytes=artifact.size_bytes,
            export_ns=artifact.export_ns,
            cached=prepared.cached,
            exporter=artifact.exporter,
            reproducible=artifact.reproducible,
        )
    )
    for output in prepared.parity:
        session.record(
            ParityRecord(
                run_id=session.run_id,
                model=spec.name,
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
            )
        )
    worst = next((output for output in prepared.parity if not output.passed), None)
    if worst is not None:
        detail = f"output {worst.output!r} at batch {worst.batch}: {worst.detail}"
        session.progress.note(f"parity of {export.model} {export.format} broke: {detail}")
        return Unusable(parity=True, detail=detail)
    return Exported(artifact, prepared.pool)


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
