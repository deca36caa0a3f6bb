"""`nightbench compare`."""

import json as jsonlib
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from dashboards.report.compared import Compared, compared, in_words
from dashboards.report.told import Against
from dashboards.report.unmatched import Unmatched, unmatched
from flows.against import against
from flows.commands.common import current_store, whole_records
from flows.console import open_console, table
from nightbench.figures import Estimate
from nightbench.judge.words import change, count, figure, metric_name
from nightbench.settings import Settings
from nightbench.summary import NightSummary, summarise

__all__ = ["compare"]


def compare(before: str, after: str = "last", /, *, json: bool = False) -> None:
    """Put two runs side by side, series by series: the second over the first.

    Only series of equal fingerprints are compared; the rest is named, with the reason. `nightbench check` asks the same
    statistics a yes or no, for CI.

    Parameters
    ----------
    before
        A run's id, a unique beginning of it, or `last`.
    after
        The run that is held against it.
    json
        Print JSON instead of a table.
    """
    settings, console = Settings.from_environment(), open_console()
    with current_store(settings, Console(stderr=True) if json else console) as store:
        night = summarise(whole_records(store, store.run_id(after)))
        held = against(store, night, before, "BEFORE")
    pairs, apart = compared(night, held), unmatched(held.before, night)
    if json:
        print(jsonlib.dumps(_plain(night, held, pairs, apart), indent=2, allow_nan=False))
    else:
        _print(console, night, held, pairs, apart)


def _print(
    console: Console, night: NightSummary, held: Against, pairs: Sequence[Compared], apart: Sequence[Unmatched]
) -> None:
    runs = f"{held.before.run.run_id} -> {night.run.run_id}"
    if pairs:
        # A table takes what is in brackets for a style.
        console.print(
            table(escape(runs), [{name: escape(text) for name, text in _row(each).items()} for each in pairs])
        )
    console.print(in_words(pairs, held), markup=False)
    for each in apart:
        console.print(
            f"not compared, {count(len(each.series), 'series', 'series')} of {each.run_id}, such as {each.series[0]}: "
            f"{each.why}",
            markup=False,
        )


def _row(each: Compared) -> dict[str, str]:
    checked, metric = each.checked, each.checked.key.metric
    doubts = [
        f"{when}: {', '.join(of)}" for when, of in (("before", each.doubts_before), ("after", each.doubts_after)) if of
    ]
    # What is said of doubts stands in their own column.
    detail = "" if doubts else checked.detail
    return {
        "verdict": checked.verdict.value,
        "series": each.name,
        "figure": metric_name(metric),
        "before": "" if checked.before is None else figure(metric, checked.before),
        "after": "" if checked.after is None else figure(metric, checked.after),
        "change": "" if checked.ratio is None else change(metric.direction, checked.ratio),
        "doubts": "\n".join([*doubts, *filter(None, [detail])]),
    }


def _plain(night: NightSummary, held: Against, pairs: Sequence[Compared], apart: Sequence[Unmatched]) -> dict[str, Any]:
    return {
        "suite": night.run.suite,
        "before": held.before.run.run_id,
        "after": night.run.run_id,
        "series": [
            {
                "series": each.name,
                "fingerprint": each.checked.key.fingerprint,
                "metric": each.checked.key.metric.value,
                "verdict": each.checked.verdict.value,
                "before": _bounds(each.checked.before),
                "after": _bounds(each.checked.after),
                "ratio": _bounds(each.checked.ratio),
                "detail": each.checked.detail,
                "doubts_before": list(each.doubts_before),
                "doubts_after": list(each.doubts_after),
            }
            for each in pairs
        ],
        "not_compared": [{"run": each.run_id, "why": each.why, "series": list(each.series)} for each in apart],
    }


def _bounds(estimate: Estimate | None) -> dict[str, float | None] | None:
    if estimate is None:
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
