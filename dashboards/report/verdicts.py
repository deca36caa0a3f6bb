"""What was found to have changed, as rows of ready text: by the night's own judge, or against another run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dashboards.report.compared import compared, in_words
from dashboards.report.series import series_names
from dashboards.report.told import Against, Told
from dashboards.report.unmatched import Unmatched, unmatched
from nightbench.judge.check import Checked
from nightbench.judge.context import differences
from nightbench.judge.series import Metric
from nightbench.judge.verdict import Verdict
from nightbench.judge.words import change, count, figure, metric_name
from nightbench.record import ConfirmationRecord, JudgementRecord
from nightbench.summary import NightSummary

__all__ = ["Quiet", "VerdictRow", "Verdicts", "verdicts"]

_ORDER = (Verdict.REGRESSED, Verdict.SUSPECTED, Verdict.ENVIRONMENT, Verdict.IMPROVED)
"""Worth a row each, the worst first."""


_MEANINGS = {
    Verdict.OK: "as they were",
    Verdict.INSUFFICIENT: "too little is known to say",
    Verdict.INVALID: "doubted, so neither good nor bad news",
}


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """One figure of one series."""

    verdict: str
    series: str
    metric: str
    before: str
    after: str
    change: str
    """In words: ``10.2 % slower (8.9 to 11.6 %)``."""
    why: str


@dataclass(frozen=True, slots=True)
class Quiet:
    """All figures of one verdict that needs no row for each."""

    verdict: str
    number: int
    meaning: str
    reasons: tuple[tuple[str, tuple[str, ...]], ...]
    """Each reason, which may be empty, and the figures it holds for."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    heading: str
    lead: str
    rows: tuple[VerdictRow, ...] = ()
    quiet: tuple[Quiet, ...] = ()
    """What needs no row: nothing changed, or nothing can be said."""
    every: tuple[VerdictRow, ...] = ()
    """Against another run: all that both have measured."""
    apart: tuple[Unmatched, ...] = ()
    """Against another run: what cannot be compared."""
    changed: tuple[tuple[str, str], ...] = ()
    """Against another run: what else is different about it, ``kernel``: ``6.1.0 -> 6.1.2``."""


def verdicts(night: NightSummary, told: Told) -> list[Verdicts]:
    """Against the run that was asked for first, then what the night's judge said of it."""
    against = [_against(night, told.against)] if told.against else []
    return [*against, _judged(night, told.judgements, {each.confirmation_id: each for each in told.confirmations})]


def _against(night: NightSummary, against: Against) -> Verdicts:
    before = against.before
    pairs = compared(night, against)
    every = tuple(_checked(each.name, each.checked) for each in pairs)
    told = [(row, each.checked) for row, each in zip(every, pairs, strict=True)]
    return Verdicts(
        heading=f"Against run {before.run.run_id}",
        lead=_capital(f"{in_words(pairs, against)}."),
        rows=tuple(row for row, each in told if each.verdict in _ORDER or each.alarming),
        quiet=_together(
            (each.verdict, each.detail, f"{row.series}, {row.metric}")
            for row, each in told
            if each.verdict not in _ORDER and not each.alarming
        ),
        every=every,
        apart=unmatched(before, night),
        changed=tuple(differences(before.run.context, night.run.context, _versions(before), _versions(night)).items()),
    )


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _versions(night: NightSummary) -> dict[str, str]:
    return {setup.server: setup.server_version for setup in night.deployments if setup.server_version}


def _checked(name: str, row: Checked) -> VerdictRow:
    metric = row.key.metric
    return VerdictRow(
        row.verdict.value,
        name,
        metric_name(metric),
        "" if row.before is None else figure(metric, row.before),
        "" if row.after is None else figure(metric, row.after),
        "" if row.ratio is None else change(metric.direction, row.ratio),
        row.detail,
    )


def _judged(
    night: NightSummary, judgements: Sequence[JudgementRecord], confirmations: dict[str, ConfirmationRecord]
) -> Verdicts:
    heading = "Against its history"
    if not judgements:
        lead = "Its series were not judged: a run without a database has no history."
        return Verdicts(heading, lead)
    names = series_names(night)
    changed = [each for each in judgements if each.verdict in _ORDER]
    tally = [f"{number} {verdict}" for verdict in _ORDER if (number := sum(e.verdict is verdict for e in changed))]
    ok = sum(each.verdict is Verdict.OK for each in judgements)
    silent = len(judgements) - ok - len(changed)
    lead = f"Of {count(len(judgements), 'figure')} judged, {', '.join(tally) or 'none changed'}"
    lead += f"; {ok} are as they were" * bool(ok) + f"; of {silent} nothing can be said yet" * bool(silent) + "."
    if silent == len(judgements):
        lead = f"Nothing can be said yet of its {count(silent, 'figure')}."
    return Verdicts(
        heading,
        lead,
        tuple(
            _row(names.get(each.fingerprint, each.fingerprint), each, confirmations.get(each.confirmation_id or ""))
            for each in sorted(changed, key=lambda each: _ORDER.index(each.verdict))
        ),
        _together(
            (each.verdict, each.detail, f"{names.get(each.fingerprint, each.fingerprint)}, {metric_name(each.metric)}")
            for each in judgements
            if each.verdict not in _ORDER
        ),
    )


def _row(name: str, record: JudgementRecord, decided: ConfirmationRecord | None) -> VerdictRow:
    metric: Metric = record.metric
    found = record.change
    rerun = decided.ratio if decided is not None else None
    said = ""
    if rerun is not None:
        said = f"{change(metric.direction, rerun)} in the re-run"
    elif found is not None:
        percent = 100 * (found.ratio - 1)
        said = f"{percent:+.1f} %"
    return VerdictRow(
        record.verdict.value,
        name,
        metric_name(metric),
        "" if found is None else figure(metric, found.before),
        "" if found is None else figure(metric, found.after),
        said,
        "; ".join(filter(None, ["" if found is None else f"since {found.since}", record.detail])),
    )


def _together(said: Iterable[tuple[Verdict, str, str]]) -> tuple[Quiet, ...]:
    """By verdict, and within it by reason, the most first."""
    groups: dict[Verdict, dict[str, list[str]]] = {}
    for verdict, why, name in said:
        # The judge writes doubts down by the names that records have for them.
        readable = why.replace("_", " ") if why.startswith("doubted:") else why
        groups.setdefault(verdict, {}).setdefault(readable, []).append(name)
    found = [
        Quiet(
            verdict.value,
            sum(map(len, reasons.values())),
            _MEANINGS.get(verdict, ""),
            tuple(
                (why, tuple(sorted(names))) for why, names in sorted(reasons.items(), key=lambda item: -len(item[1]))
            ),
        )
        for verdict, reasons in groups.items()
    ]
    return tuple(sorted(found, key=lambda each: -each.number))
