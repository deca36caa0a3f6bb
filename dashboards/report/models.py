"""The report's tables about models: what was exported, and whether it still says what PyTorch said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboards.report import format as fmt
from nightbench.record import ArtifactRecord, ParityRecord, WireParityRecord

__all__ = ["ArtifactRow", "ParityRow", "WireRow", "artifacts", "parity", "wire"]


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    model: str
    format: str
    weights: str
    sha256: str
    size: str
    export: str
    memory: str
    origin: str
    exporter: str
    failure: str | None


@dataclass(frozen=True, slots=True)
class Distance:
    """How far answers stood from PyTorch's."""

    max_abs: str
    max_rel: str
    nrmse: str
    cosine: str
    top1: str
    top5: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class ParityRow:
    model: str
    format: str
    output: str
    batch: int
    distance: Distance


@dataclass(frozen=True, slots=True)
class WireRow:
    server: str
    model: str
    format: str
    protocol: str
    output: str
    batch: int
    starts: int
    distance: Distance
    """Of the start that stood farthest away."""


def artifacts(records: Sequence[ArtifactRecord]) -> list[ArtifactRow]:
    return [
        ArtifactRow(
            model=f"{record.model} v{record.model_version}",
            format=f"{record.format} {record.precision}",
            weights=record.weights,
            sha256=record.sha256[:12] if record.sha256 else fmt.NOTHING,
            size=fmt.size(record.size_bytes),
            export=fmt.NOTHING if record.export_ns is None else fmt.in_words(record.export_ns),
            memory=fmt.size(record.peak_rss_bytes),
            origin=", ".join(
                [
                    "from the cache" if record.cached else "made tonight",
                    "byte-reproducible" if record.reproducible else "not byte-reproducible",
                ]
            ),
            exporter=_pairs(record.exporter),
            failure=record.failure,
        )
        for record in records
    ]


def parity(records: Sequence[ParityRecord]) -> list[ParityRow]:
    return [
        ParityRow(record.model, f"{record.format} {record.precision}", record.output, record.batch, _distance(record))
        for record in records
    ]


def wire(records: Sequence[WireParityRecord]) -> list[WireRow]:
    """One row a server, protocol, batch and output over all its starts."""
    groups: dict[tuple[object, ...], list[WireParityRecord]] = {}
    for record in records:
        key = (record.server, record.model, record.format, record.precision, record.protocol, record.batch)
        groups.setdefault((*key, record.output), []).append(record)
    rows = []
    for group in groups.values():
        worst = max(group, key=lambda record: (not record.passed, record.nrmse))
        rows.append(
            WireRow(
                worst.server,
                worst.model,
                f"{worst.format} {worst.precision}",
                str(worst.protocol),
                worst.output,
                worst.batch,
                len(group),
                _distance(worst),
            )
        )
    return sorted(rows, key=lambda row: (row.model, row.server, row.format, row.protocol, row.batch, row.output))


def _distance(record: ParityRecord | WireParityRecord) -> Distance:
    where = getattr(record, "diverges_at", None)
    return Distance(
        max_abs=fmt.scientific(record.max_abs),
        max_rel=fmt.scientific(record.max_rel),
        nrmse=fmt.NOTHING if record.nrmse is None else fmt.scientific(record.nrmse),
        cosine=f"{record.cosine:.7f}",
        top1=_share(record.top1_agreement),
        top5=_share(record.top5_agreement),
        passed=record.passed,
        detail=f"{record.detail}; it strays first at {where}" if where else record.detail,
    )


def _share(agreement: float | None) -> str:
    return fmt.NOTHING if agreement is None else f"{100 * agreement:.1f} %"


def _pairs(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(facts.items()))
