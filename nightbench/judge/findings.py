"""What deserves an alert beside figures that changed: numbers that drift, servers that fail, baselines that expire."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from nightbench.judge.alert import AlertKind, Finding
from nightbench.judge.night import NightSeries
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.words import count
from nightbench.parity import USUAL_NRMSE
from nightbench.record import MissingRecord, ParityRecord, WireParityRecord
from nightbench.summary import NightSummary

__all__ = ["DRIFT_FACTOR", "Looked", "expired_baselines", "failed_servers", "parity_breaks"]

DRIFT_FACTOR = 4.0
"""Of the root mean square of the differences from PyTorch. Another order of the same sums moves it by less than half;
another kernel, or a cast that was not there before, by more than this."""
_DRIFT_FLOOR = 0.01
"""Of the bound that is usual for the precision: below it all is rounding, however much it is of something smaller."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a check found, and the subjects it looked at: an alert about one that it did not find again is over."""

    findings: tuple[Finding, ...]
    subjects: frozenset[tuple[AlertKind, str]]


def parity_breaks(night: NightSummary, before: Iterable[ParityRecord]) -> Looked:
    """Exports and deployments whose numbers are not PyTorch's, and exports that drift away from it.

    ``before`` are the exports of the last night. An artifact passes or not by its model's own tolerance; long before it
    does not, a new exporter may have made it `DRIFT_FACTOR` times worse than the one of last night.
    """
    findings: list[Finding] = []
    subjects = set()
    last = _by_output(before)
    exports: defaultdict[str, list[ParityRecord]] = defaultdict(list)
    for export in night.parity:
        exports[f"model {export.model} {export.format} {export.precision}"].append(export)
    for subject, of_export in exports.items():
        subjects.add((AlertKind.PARITY, subject))
        failed = [record for record in of_export if not record.passed]
        drifted = [record for record in of_export if _drifted(record, last.get(_output(record)))]
        if failed:
            detail = "; ".join(dict.fromkeys(_failure(record) for record in failed))
            findings.append(_parity(subject, f"{subject}: no longer matches PyTorch", detail, map(_error, failed)))
        elif drifted:
            worst = max(drifted, key=_error)
            detail = (
                f"output {worst.output} at batch {worst.batch}: normalised RMS difference from PyTorch "
                f"{_error(last[_output(worst)]):.2g} -> {_error(worst):.2g}, more than {DRIFT_FACTOR:g} times as much, "
                "and still within the tolerance"
            )
            findings.append(_parity(subject, f"{subject}: its numbers drift", detail, map(_error, drifted)))
    wires: defaultdict[str, list[WireParityRecord]] = defaultdict(list)
    for wire in night.wire_parity:
        # What gave no answers says nothing of its numbers: its cells are missing, which is another finding.
        if wire.answered:
            wires[f"server {wire.server}, model {wire.model}"].append(wire)
    for subject, of_wire in wires.items():
        subjects.add((AlertKind.PARITY, subject))
        wrong = [record for record in of_wire if not record.passed]
        if wrong:
            detail = "; ".join(dict.fromkeys(f"{record.protocol}: {_failure(record)}" for record in wrong))
            findings.append(_parity(subject, f"{subject}: answers wrongly over the wire", detail, map(_error, wrong)))
    return Looked(tuple(findings), frozenset(subjects))


def failed_servers(night: NightSummary) -> Looked:
    """Servers of which a setup never came up, or a cell was never measured; and models that could not be exported.

    One finding a server or export, whatever it fails at. What failed in some rounds only is doubted, and no alert.
    """
    failures: defaultdict[str, list[str]] = defaultdict(list)
    subjects = {(AlertKind.FAILED_SERVER, f"server {each.server}") for each in night.deployments}
    for setup in night.deployments:
        if setup.starts and setup.failed == setup.starts:
            why = setup.failures[-1]
            starts = count(setup.starts, "start")
            failures[f"server {setup.server}"].append(
                f"{setup.model} {setup.format} {setup.precision} did not come up in {starts}: {why.failure}"
            )
    for cell in night.cells:
        export = f"export {cell.model} {cell.format} {cell.precision}"
        subjects.add((AlertKind.FAILED_SERVER, export))
        gap = cell.missing[-1] if cell.missing and not cell.rounds else None
        if gap is not None and gap.reason == "export_failed":
            failures[export].append(gap.detail)
        elif gap is not None and gap.reason == "measuring_failed":
            failures[f"server {cell.server}"].append(f"{_named(gap)} was not measured: {gap.detail}")
    return Looked(
        tuple(
            Finding(AlertKind.FAILED_SERVER, subject, _failed_title(subject, details), "; ".join(details), (), {}, 1.0)
            for subject, found in failures.items()
            if (details := list(dict.fromkeys(found)))
        ),
        frozenset(subjects),
    )


def expired_baselines(series: Sequence[NightSeries], policy: JudgePolicy) -> Looked:
    """Series that had a baseline, are measured still, and were doubted for so long that it is none any more.

    One finding a server. A series that is measured no more is no concern: it went with its suite or its server.
    """
    expired: defaultdict[str, list[NightSeries]] = defaultdict(list)
    for each in series:
        doubted = 0
        for point in reversed(each.history.points):
            if not point.doubted:
                break
            doubted += 1
        had_one = doubted < len(each.history.points) or each.history.anchor is not None
        if had_one and doubted >= policy.expires_nights:
            expired[each.server].append(each)
    return Looked(
        tuple(
            Finding(
                AlertKind.BASELINE_EXPIRED,
                f"server {server}",
                f"server {server}: {count(len(found), 'baseline')} expired",
                f"no valid night in the last {policy.expires_nights}: "
                + "; ".join(f"{each.label} (tonight: {', '.join(each.doubts)})" for each in found),
            )
            for server, found in expired.items()
        ),
        frozenset((AlertKind.BASELINE_EXPIRED, f"server {each.server}") for each in series),
    )


def _parity(subject: str, title: str, detail: str, errors: Iterable[float]) -> Finding:
    return Finding(AlertKind.PARITY, subject, title, detail, severity=max(errors))


def _output(record: ParityRecord) -> tuple[object, ...]:
    return record.model, record.format, record.precision, record.output, record.batch


def _by_output(records: Iterable[ParityRecord]) -> Mapping[tuple[object, ...], ParityRecord]:
    return {_output(record): record for record in records}


def _drifted(tonight: ParityRecord, before: ParityRecord | None) -> bool:
    """Only of another artifact: the same one differs by nothing but chance."""
    if before is None or before.artifact_sha256 == tonight.artifact_sha256 or not before.passed:
        return False
    floor = _DRIFT_FLOOR * USUAL_NRMSE[tonight.precision]
    return _error(tonight) > DRIFT_FACTOR * max(_error(before), floor)


def _error(record: ParityRecord | WireParityRecord) -> float:
    """The normalised RMS difference; of records from before it was taken, what their cosine implies for small angles:
    the square of it is twice what the cosine lacks of 1."""
    if record.nrmse is not None:
        return record.nrmse
    return math.sqrt(2.0 * max(0.0, 1.0 - record.cosine))


def _failure(record: ParityRecord | WireParityRecord) -> str:
    return f"output {record.output} at batch {record.batch}: {record.detail or f'max_abs {record.max_abs:.3g}'}"


def _named(gap: MissingRecord) -> str:
    return f"{gap.model} b{gap.batch} {gap.protocol} {gap.load.label}"


def _failed_title(subject: str, details: Collection[str]) -> str:
    if subject.startswith("export "):
        return f"{subject}: failed"
    return f"{subject}: {'a setup failed' if len(details) == 1 else f'{len(details)} setups failed'}"
