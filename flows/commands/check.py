"""`nightbench check`."""

import json as jsonlib
import sys
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter
from rich.console import Console
from rich.markup import escape

from db.store import Store
from flows.against import policy_of
from flows.commands.common import current_store, whole_records
from flows.console import open_console, table
from nightbench.errors import UsageError
from nightbench.judge.check import Check, Checked, against_history, against_run
from nightbench.judge.check_report import headline, in_words
from nightbench.judge.check_report import junit as as_junit
from nightbench.judge.check_report import markdown as as_markdown
from nightbench.judge.points import points_of
from nightbench.judge.verdict import Verdict
from nightbench.judge.words import metric_name
from nightbench.record import JudgementRecord
from nightbench.settings import Settings
from nightbench.summary import summarise

__all__ = ["check"]

LAST_GOOD = "last-good"


def check(
    run: str = "last",
    /,
    *,
    against: str = LAST_GOOD,
    junit: Path | None = None,
    markdown: Path | None = None,
    json: bool = False,
) -> None:
    """Say whether a run is worse than another, or than its series were so far; for merge requests.

    Exit codes of this command: 0 nothing regressed; 1 something did; 3 that cannot be told, of everything or of
    something that could be told before. Elsewhere 1 means that nightbench itself failed; here a failure prints no
    headline. 2 is what it is everywhere: what was asked for cannot be done.

    Parameters
    ----------
    run
        A run's id, a unique beginning of it, or `last`.
    against
        `last-good`, the history of each series as the nightly judge sees it; or another run.
    junit
        Where to write JUnit XML: one test case a series.
    markdown
        Where to write Markdown for a comment.
    json
        Print JSON instead of a table.
    """
    settings, console = Settings.from_environment(), open_console()
    with current_store(settings, Console(stderr=True) if json else console) as store:
        found = _checked(store, run, against)
    for path, content in ((junit, as_junit), (markdown, as_markdown)):
        if path is not None:
            _write(path, content(found))
    if json:
        print(jsonlib.dumps(_told(found), indent=2))
    else:
        _print(console, found)
    sys.exit(found.exit_code)


def _checked(store: Store, run: str, against: str) -> Check:
    run_id = store.run_id(run)
    records = whole_records(store, run_id)
    tonight = summarise(records)
    policy = policy_of(tonight.run)
    if against != LAST_GOOD:
        other = store.run_id(against)
        if other == run_id:
            raise UsageError(f"--against: {against!r} is the run itself; name another, or last-good")
        return against_run(tonight, summarise(whole_records(store, other)), policy)
    nights = policy.baseline_nights + policy.window_nights
    judgements = [record for record in records if isinstance(record, JudgementRecord)]
    histories = store.series_of(run_id, nights)
    if not histories or (tonight.finished and not judgements):
        # No night has judged it, so it has left no points yet, or those of a check while it ran.
        store.put_points(run_id, points_of(tonight, tonight.run.suite))
        histories = store.series_of(run_id, nights)
    return against_history(tonight, histories, judgements, policy)


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"check: {path} cannot be written: {error.strerror}; choose another") from error


def _told(found: Check) -> dict[str, object]:
    return {
        "suite": found.suite,
        "run": found.run_id,
        "against": found.against,
        "exit_code": found.exit_code,
        "series": jsonlib.loads(_SERIES.dump_json(found.series)),
    }


# JSON has no NaN, so that is a text.
_SERIES = TypeAdapter(tuple[Checked, ...], config=ConfigDict(ser_json_inf_nan="strings"))


def _print(console: Console, found: Check) -> None:
    rows = [
        {
            "verdict": each.verdict.value,
            # A table takes what is in brackets for a style.
            "series": escape(each.label.removesuffix(f", {metric_name(each.key.metric)}")),
            "metric": metric_name(each.key.metric),
            "before, after, change": escape(in_words(each)),
        }
        for each in found.series
        if each.verdict is not Verdict.OK
    ]
    if rows:
        console.print(table(escape(f"{found.suite}, run {found.run_id}"), rows))
    console.print(headline(found), markup=False)
