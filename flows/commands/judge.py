"""`nightbench judge`."""

import json as jsonlib
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.markup import escape

from flows.console import open_console, table
from nightbench.errors import UsageError
from nightbench.figures import Estimate
from nightbench.judge.csvfile import read
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.replay import Raised, Replayed, replay
from nightbench.settings import Settings

__all__ = ["judge"]


def judge(
    run: str | None = None,
    /,
    *,
    csv: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
    min_effect: Annotated[float | None, Parameter(validator=Number(gt=0, lt=1))] = None,
) -> None:
    """Say what changed in a stored night; with --csv, replay the history rule over series in a file.

    A file is judged night by night, each night knowing only what was known then. It takes no database, and there are no
    re-runs: what is printed are the suspicions that history alone is enough for. After one, its series starts anew at
    the night it locates.

    Parameters
    ----------
    run
        The night's id, a unique beginning of it, or `last` (the default).
    csv
        A file with a header line and the columns `series,night,value`, and perhaps `direction`: `higher` (the default)
        or `lower`, which way is better. Nights are in the order of the lines.
    json
        Print one JSON object instead of a table.
    min_effect
        With --csv: the least relative change that is news; 0.03 if not given. A night was judged by its own suite's.
    """
    if csv is None:
        if min_effect is not None:
            raise UsageError("--min-effect: goes with --csv; a night was judged by its own suite's, leave it out")
        _stored(run or "last", as_json=json)
    elif run is not None:
        raise UsageError(f"judge: {run!r} names a stored night and --csv a file; give one of them")
    else:
        _replayed(csv, JudgePolicy().min_effect if min_effect is None else min_effect, as_json=json)


def _stored(run: str, *, as_json: bool) -> None:
    from flows.commands.common import current_store, whole_records
    from flows.judgements import plain, rows, said_of, summary

    settings, console = Settings.from_environment(), open_console()
    # What is said beside the answer must not be in the middle of it.
    with current_store(settings, Console(stderr=True) if as_json else console) as store:
        run_id = store.run_id(run)
        said = said_of(whole_records(store, run_id))
    if as_json:
        console.out(jsonlib.dumps(plain(run_id, said), indent=2, allow_nan=False), highlight=False)
        return
    if not said:
        console.print(f"{run_id} was not judged; nights are judged as they end, where they have the database")
        return
    if changed := rows(said):
        console.print(table(f"{run_id}: what is not as it was", changed))
    console.print(summary(said), soft_wrap=True, markup=False)


def _replayed(csv: Path, min_effect: float, *, as_json: bool) -> None:
    policy = JudgePolicy(min_effect=min_effect)
    found = [replay(each.series, each.points, each.direction, min_effect, policy) for each in read(csv)]
    console = open_console()
    if as_json:
        console.out(jsonlib.dumps(_plain(found, policy), indent=2, allow_nan=False), highlight=False)
        return
    rows = [_row(each, raised) for each in found for raised in each.raised]
    if rows:
        console.print(table(f"{csv}: suspicions, levels with 95 % intervals", rows))
    console.print(_summary(found, policy), soft_wrap=True, markup=False)


def _row(series: Replayed, raised: Raised) -> dict[str, str]:
    change = raised.change
    return {
        "series": escape(series.series),
        "raised": escape(raised.night),
        "located": escape(change.since),
        "is": "worse" if raised.worse else "better",
        "by": f"{100.0 * (change.ratio - 1.0):+.1f} %",
        "before": _level(change.before),
        "after": _level(change.after),
        "p": f"{change.p_value:.1g}",
    }


def _level(level: Estimate) -> str:
    if level.low is None or level.high is None:
        return f"{level.value:.4g}"
    return f"{level.value:.4g} ({level.low:.4g} - {level.high:.4g})"


def _summary(found: list[Replayed], policy: JudgePolicy) -> str:
    """One line: how much was judged, how much was found."""
    raised = [each for series in found for each in series.raised]
    worse = sum(each.worse for each in raised)
    line = (
        f"{len(found)} series, {sum(each.nights for each in found)} nights of which "
        f"{sum(each.judged for each in found)} judged: {worse} suspected worse, {len(raised) - worse} better"
    )
    short = sum(not each.judged for each in found)
    return f"{line}; {short} series have too few nights, more than {policy.min_nights} are needed" if short else line


def _plain(found: list[Replayed], policy: JudgePolicy) -> dict[str, object]:
    return {
        "policy": policy.model_dump(
            mode="json", include={"min_effect", "min_nights", "baseline_nights", "window_nights"}
        ),
        "series": [
            {
                "series": each.series,
                "direction": each.direction.value,
                "nights": each.nights,
                "judged": each.judged,
                "suspicions": [_suspicion(raised) for raised in each.raised],
            }
            for each in found
        ],
    }


def _suspicion(raised: Raised) -> dict[str, object]:
    change = raised.change
    return {
        "raised": raised.night,
        "located": change.since,
        "last_before": change.last_before,
        "nights": change.nights,
        "worse": raised.worse,
        "ratio": change.ratio,
        "before": _bounds(change.before),
        "after": _bounds(change.after),
        "p_value": change.p_value,
    }


def _bounds(level: Estimate) -> dict[str, float | None]:
    return {"value": level.value, "low": level.low, "high": level.high}
