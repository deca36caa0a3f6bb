"""What was said of a stored night's series, in words and as JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape

from nightbench.judge.points import points_of_cells, series_label
from nightbench.judge.series import SeriesKey
from nightbench.judge.verdict import Change, Verdict
from nightbench.judge.words import figure
from nightbench.record import JudgementRecord, Record
from nightbench.summary import summarise

__all__ = ["Said", "plain", "rows", "said_of", "summary"]


@dataclass(frozen=True, slots=True)
class Said:
    """One series of a night."""

    label: str
    record: JudgementRecord


def said_of(records: Sequence[Record]) -> list[Said]:
    """Every judgement among a night's records, those that changed first; none if the night was not judged."""
    night = summarise(records)
    labels = {
        point.key: series_label(cell.summary, point.key.metric)
        for cell in points_of_cells(night, night.run.suite)
        for point in cell.points
    }
    found = [record for record in records if isinstance(record, JudgementRecord)]
    said = [
        Said(labels.get(SeriesKey(each.suite, each.fingerprint, each.metric), each.fingerprint), each) for each in found
    ]
    return sorted(said, key=lambda each: (each.record.change is None, each.record.verdict, each.label))


def rows(said: Sequence[Said]) -> list[dict[str, str]]:
    """For a table, which takes what is in brackets for a style: what changed, and what could not be judged. That the
    rest is as it was needs no line each."""
    return [
        {
            "series": escape(each.label),
            "verdict": each.record.verdict.value,
            "before": "" if each.record.change is None else figure(each.record.metric, each.record.change.before),
            "after": "" if each.record.change is None else figure(each.record.metric, each.record.change.after),
            "since": "" if each.record.change is None else escape(each.record.change.since),
            "why": escape(each.record.detail),
        }
        for each in said
        if each.record.change is not None or each.record.verdict is not Verdict.OK
    ]


def summary(said: Sequence[Said]) -> str:
    """``48 series: 45 ok, 2 insufficient, 1 regressed``."""
    counts = Counter(each.record.verdict.value for each in said)
    return f"{len(said)} series: " + ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())


def plain(run_id: str, said: Sequence[Said]) -> dict[str, Any]:
    """For JSON."""
    return {
        "run": run_id,
        "series": [
            {
                "label": each.label,
                "suite": each.record.suite,
                "fingerprint": each.record.fingerprint,
                "metric": each.record.metric.value,
                "verdict": each.record.verdict.value,
                "detail": each.record.detail,
                "confirmation": each.record.confirmation_id,
                "change": None if each.record.change is None else _change(each.record.change),
            }
            for each in said
        ],
    }


def _change(change: Change) -> dict[str, Any]:
    levels = {"before": change.before, "after": change.after}
    return {
        "since": change.since,
        "last_before": change.last_before,
        "nights": change.nights,
        "ratio": change.ratio,
        "p_value": change.p_value,
        "firm": change.firm,
        **{name: {"value": each.value, "low": each.low, "high": each.high} for name, each in levels.items()},
    }
