"""Series over nights: a night's points in, and out again what each series is judged by."""

import gc
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cache
from math import ceil, isfinite
from typing import Any

from sqlalchemy import JSON, Connection, Row, delete, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert

from db.judge_rows import case_of, judgement
from db.judge_tables import change_points, judgements, series_baselines, series_points
from db.rollup_tables import judged_series
from db.rollups import roll_up
from db.rows import plain
from db.tables import runs
from db.upsert import insert_new
from nightbench.figures import Estimate
from nightbench.judge.series import ChangePoint, Metric, NightPoint, Point, Predecessor, SeriesHistory, SeriesKey
from nightbench.judge.succession import successions
from nightbench.judge.verdict import Outcome, Verdict
from nightbench.record import Case, JudgementRecord

__all__ = [
    "Baseline",
    "canary_history",
    "judged_changes",
    "last_completed",
    "predecessors",
    "put_changes",
    "put_points",
    "series_of",
    "set_baselines",
    "whole_series",
]

Baseline = tuple[SeriesKey, str, str, Estimate | None]
"""Of a series: the night that is the first of its new history, why, and the level it had then."""

_NO_BOUNDS = {"low": None, "high": None}
_BATCH = 500
# Nights looked through for each point wanted: a series that was left out now and then still has enough.
_REACH = 1.25
# Half a million points of a large night are gathered in memory, by hashing. Left to itself the planner sorts them by
# their texts, which takes three times as long.
_BY_HASHING = text("SET LOCAL work_mem = '96MB'; SET LOCAL enable_sort = off")

# This run, and before it the newest completed ones of its suite on such a machine: the hardware is part of a series'
# name, so that nights of other machines that share the database have nothing of it.
_NIGHTS = text("""
SELECT run_id, started_at FROM runs WHERE run_id = :run_id
UNION ALL
(SELECT earlier.run_id, earlier.started_at
 FROM runs AS earlier JOIN runs AS this ON this.run_id = :run_id
     AND earlier.suite = this.suite AND earlier.hardware = this.hardware
     AND earlier.status = 'completed' AND earlier.started_at < this.started_at
 ORDER BY earlier.started_at DESC, earlier.run_id
 LIMIT :most)
""")

# A series is tonight's if its youngest night is the first of those given. Text is slow to compare, so nothing is sorted
# and nothing joined before each series is one row.
_HISTORY = text("""
WITH nights AS (
    SELECT run_id, age FROM unnest(CAST(:nights AS TEXT[])) WITH ORDINALITY AS nights (run_id, age)
), series AS (
    SELECT
        suite, fingerprint, metric, array_agg(age) AS ages, array_agg(value) AS figures, array_agg(low) AS lows,
        array_agg(high) AS highs, array_agg(doubts <> '{}') AS doubted
    FROM nights JOIN series_points USING (run_id)
    WHERE :all_of_them OR fingerprint = ANY(CAST(:fingerprints AS TEXT[]))
    GROUP BY suite, fingerprint, metric
    HAVING min(age) = 1
), bases AS (
    SELECT DISTINCT ON (base.suite, fingerprint, metric)
        base.suite, fingerprint, metric, since_run_id, since.started_at, anchor, anchor_low, anchor_high
    FROM series_baselines AS base JOIN runs AS since ON since.run_id = base.since_run_id
    WHERE since.started_at <= (SELECT started_at FROM runs WHERE run_id = :run_id)
    ORDER BY base.suite, fingerprint, metric, number DESC
)
SELECT series.*, since_run_id, bases.started_at AS base, anchor, anchor_low, anchor_high
FROM series LEFT JOIN bases USING (suite, fingerprint, metric)
""")

# The last night on such a machine that has points, and which series are in only one of it and tonight. A series that
# some earlier night had is not new, only back.
_COMINGS_AND_GOINGS = text("""
WITH this AS (
    SELECT run_id, suite, hardware, started_at FROM runs WHERE run_id = :run_id
), earlier AS (
    SELECT runs.run_id, runs.started_at FROM runs JOIN this USING (suite, hardware)
    WHERE runs.status = 'completed' AND runs.started_at < this.started_at
), now AS (
    SELECT DISTINCT suite, fingerprint FROM series_points WHERE run_id = :run_id
), old AS (
    SELECT run_id FROM earlier ORDER BY started_at DESC, run_id OFFSET :young
), new AS (
    SELECT suite, fingerprint FROM now
    WHERE NOT EXISTS (
        SELECT FROM series_points AS point JOIN old USING (run_id)
        WHERE point.suite = now.suite AND point.fingerprint = now.fingerprint
    )
), last AS (
    SELECT run_id FROM earlier
    WHERE EXISTS (SELECT FROM series_points WHERE series_points.run_id = earlier.run_id)
        AND NOT EXISTS (
            SELECT FROM series_points JOIN new USING (suite, fingerprint)
            WHERE series_points.run_id = earlier.run_id
        )
    ORDER BY started_at DESC, run_id LIMIT 1
), before AS (
    SELECT DISTINCT suite, fingerprint, run_id FROM series_points JOIN last USING (run_id)
)
SELECT before.run_id, row_to_json(cases) FROM before JOIN cases USING (fingerprint)
WHERE fingerprint NOT IN (SELECT fingerprint FROM now)
UNION ALL
SELECT NULL, row_to_json(cases) FROM new JOIN cases USING (fingerprint)
""")

_LAST = text("""
SELECT earlier.run_id FROM runs AS earlier JOIN runs AS this ON this.run_id = :run_id
    AND earlier.suite = this.suite AND earlier.hardware = this.hardware
    AND earlier.status = 'completed' AND earlier.started_at < this.started_at
ORDER BY earlier.started_at DESC, earlier.run_id LIMIT 1
""")

# What a re-run that was asked for said after the night had been judged, which left the series suspected.
_DECIDED = text("""
SELECT run_id, suite, fingerprint, metric, row_to_json(confirmations) FROM confirmations
WHERE run_id = ANY(:nights) AND outcome IN ('refuted', 'environment')
""")

_WHOLE = text("""
SELECT fingerprint, metric, array_agg(run_id ORDER BY started_at, run_id), array_agg(value ORDER BY started_at, run_id),
    array_agg(low ORDER BY started_at, run_id), array_agg(high ORDER BY started_at, run_id),
    array_agg(doubts <> '{}' ORDER BY started_at, run_id)
FROM series_points JOIN runs USING (run_id)
WHERE series_points.suite = :suite AND runs.status = 'completed'
GROUP BY fingerprint, metric
""")


_CANARIES = text("""
SELECT canary, device, array_agg(run_id ORDER BY age DESC), array_agg(duration_ns ORDER BY age DESC)
FROM canary_nights JOIN unnest(CAST(:nights AS TEXT[])) WITH ORDINALITY AS nights (run_id, age) USING (run_id)
WHERE duration_ns IS NOT NULL
GROUP BY canary, device
""")


def put_points(connection: Connection, run_id: str, points: Sequence[NightPoint]) -> None:
    """Keep what a night adds to its series, in place of all that was kept of this night before, and roll it up.

    A figure that is no number has no place in a series, and is left out.
    """
    insert_new(connection, runs, [{"run_id": run_id}])
    connection.execute(delete(series_points).where(series_points.c.run_id == run_id))
    rows = [
        {
            **_named(point.key),
            "run_id": run_id,
            "value": point.figure.value,
            **_bounds(point.figure),
            "doubts": list(point.doubts),
        }
        for point in points
        if isfinite(point.figure.value)
    ]
    insert_new(connection, series_points, rows)
    insert_new(connection, judged_series, [_named(point.key) for point in points])
    roll_up(connection, [run_id])


def series_of(
    connection: Connection, run_id: str, nights: int, fingerprints: Collection[str] | None = None
) -> dict[SeriesKey, SeriesHistory]:
    """What each series with a point in ``run_id`` is judged by: its newest ``nights`` points, doubted ones among them.

    They are of completed runs of the same suite and hardware that started before this one, not older than the newest
    baseline of the series (but for those set for a later night than this), and this run's own, which is the last. Of
    runs a quarter more than ``nights`` are looked through. Only series of ``fingerprints``, if given.
    """
    connection.execute(_BY_HASHING)
    names, starts = _nights(connection, run_id, ceil(_REACH * nights))
    given = {
        "run_id": run_id,
        "nights": names,
        "all_of_them": fingerprints is None,
        "fingerprints": list(fingerprints or ()),
    }

    @cache
    def young_enough(base: datetime | None) -> int:
        """How many of the nights are not before the baseline."""
        return len(names) if base is None else sum(start >= base for start in starts)

    with _uncollected():
        return {
            SeriesKey(row.suite, row.fingerprint, Metric(row.metric)): _history(
                row, names, young_enough(row.base), nights
            )
            for row in connection.execute(_HISTORY, given)
        }


def _history(row: Row[Any], names: Sequence[str], oldest: int, nights: int) -> SeriesHistory:
    """A row of `_HISTORY`, its points put in order; ``names`` are the nights', by age from 1 on."""
    # No two have one age, so that nothing else is compared.
    newest = sorted(zip(row.ages, row.figures, row.lows, row.highs, row.doubted, strict=True))[:nights]
    points = [
        Point(names[age - 1], value, low, high, doubted)
        for age, value, low, high, doubted in reversed(newest)
        if age <= oldest
    ]
    anchor = None if row.anchor is None else Estimate(row.anchor, row.anchor_low, row.anchor_high)
    return SeriesHistory(tuple(points), anchor, row.since_run_id)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without looking for garbage: among half a million new objects that all stay it takes longer than to make them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def without_outdated(connection: Connection, rows: Sequence[Baseline]) -> list[Baseline]:
    """Those of ``rows`` whose series has no baseline that begins later."""
    newest = dict[SeriesKey, str]()
    named = [key for key, *_ in rows]
    of_series = tuple_(series_baselines.c.suite, series_baselines.c.fingerprint, series_baselines.c.metric)
    query = select(*of_series.clauses, series_baselines.c.since_run_id).order_by(series_baselines.c.number)
    given = [tuple(_named(key).values()) for key in named]
    for suite, fingerprint, metric, since in connection.execute(query.where(of_series.in_(given))):
        newest[SeriesKey(suite, fingerprint, Metric(metric))] = since
    # Ids of runs begin with their time.
    return [each for each in rows if newest.get(each[0], "") <= each[1]]


def set_baselines(connection: Connection, rows: Sequence[Baseline]) -> None:
    """Let series be their own history from a night on. Of several settings of one series the last one counts."""
    given = [
        {
            **_named(key),
            "since_run_id": since,
            "why": plain(why),
            "anchor": anchor and anchor.value,
            **{f"anchor_{name}": bound for name, bound in (_bounds(anchor) if anchor else _NO_BOUNDS).items()},
        }
        for key, since, why, anchor in rows
    ]
    if not given:
        return
    statement = insert(series_baselines)
    new = {name: statement.excluded[name] for name in ("why", "anchor", "anchor_low", "anchor_high")}
    again = statement.on_conflict_do_update(
        constraint="uq_series_baselines_series", set_={"number": text("DEFAULT"), **new}
    )
    connection.execute(again, given)


def predecessors(connection: Connection, run_id: str, nights: int, young: int = 0) -> dict[SeriesKey, Predecessor]:
    """For tonight's series that are new, or no older than the ``young`` completed nights before: the one that each goes
    on from, of the last night before any of them was there, if any.

    `nightbench.judge.succession` says which. The history is the predecessor's own, as of its last night.
    """
    gone: dict[str, Case] = {}
    new: dict[str, Case] = {}
    last = ""
    for night, fields in connection.execute(_COMINGS_AND_GOINGS, {"run_id": run_id, "young": young}):
        (new if night is None else gone)[fields["fingerprint"]] = case_of(fields)
        last = night or last
    successors = {old: name for name, old in successions(gone, new).items()}
    if not successors:
        return {}
    histories = series_of(connection, last, nights, successors)
    return {
        replace(key, fingerprint=successors[key.fingerprint]): Predecessor(key, history)
        for key, history in histories.items()
    }


def canary_history(connection: Connection, run_id: str, nights: int) -> dict[tuple[str, str], tuple[Point, ...]]:
    """By canary and device: how long it took, tonight last, over the ``nights`` of this suite on such a machine before.

    A night's figure is the median over its rounds; one on which a canary only failed is not among them.
    """
    given = {"nights": _nights(connection, run_id, nights)[0]}
    return {
        (canary, device): tuple(map(Point, names, durations))
        for canary, device, names, durations in connection.execute(_CANARIES, given)
    }


def last_completed(connection: Connection, run_id: str) -> str | None:
    """The newest completed run before this one, of its suite and on such a machine."""
    found: str | None = connection.scalar(_LAST, {"run_id": run_id})
    return found


def judged_changes(connection: Connection, run_id: str, nights: int) -> list[JudgementRecord]:
    """Judgements that found a change, oldest first, of the ``nights`` completed runs of this suite and hardware before
    this one."""
    earlier, _ = _nights(connection, run_id, nights + 1)
    ages = {name: age for age, name in enumerate(earlier)}
    query = select(func.row_to_json(judgements.table_valued(), type_=JSON)).where(
        judgements.c.run_id.in_(earlier[1:]), judgements.c.since.is_not(None)
    )
    rows = sorted(connection.scalars(query), key=lambda row: -ages[row["run_id"]])
    found = [record for record in map(judgement, rows) if isinstance(record, JudgementRecord)]
    rows_later = connection.execute(_DECIDED, {"nights": earlier[1:]})
    later = {tuple(named): decided for *named, decided in rows_later}
    return [_as_decided(each, later) for each in found]


def _as_decided(record: JudgementRecord, later: Mapping[tuple[str, ...], Mapping[str, str]]) -> JudgementRecord:
    decided = later.get((record.run_id, record.suite, record.fingerprint, record.metric.value))
    if decided is None or record.verdict is not Verdict.SUSPECTED:
        return record
    verdict = Verdict.OK if decided["outcome"] == Outcome.REFUTED else Verdict.ENVIRONMENT
    return replace(record, verdict=verdict, detail=decided["detail"], confirmation_id=decided["confirmation_id"])


def whole_series(connection: Connection, suite: str) -> dict[SeriesKey, tuple[Point, ...]]:
    """Every series of a suite over all its completed runs, oldest first, whatever its baselines are."""
    return {
        SeriesKey(suite, fingerprint, Metric(metric)): tuple(map(Point, *columns))
        for fingerprint, metric, *columns in connection.execute(_WHOLE, {"suite": suite})
    }


def put_changes(connection: Connection, found: Mapping[SeriesKey, Sequence[ChangePoint]]) -> None:
    """Keep where series step, in place of what was kept of these series before."""
    of_series = tuple_(change_points.c.suite, change_points.c.fingerprint, change_points.c.metric)
    keys = [tuple(_named(key).values()) for key in found]
    for first in range(0, len(keys), _BATCH):
        connection.execute(delete(change_points).where(of_series.in_(keys[first : first + _BATCH])))
    rows = [
        {**_named(key), "run_id": each.night, "before": each.before, "after": each.after, "p_value": each.p_value}
        for key, changes in found.items()
        for each in changes
    ]
    insert_new(connection, change_points, rows)


def _nights(connection: Connection, run_id: str, most: int) -> tuple[list[str], list[datetime]]:
    """This run and before it the newest completed ones of its suite and hardware, ``most`` in all; when each began."""
    found = connection.execute(_NIGHTS, {"run_id": run_id, "most": most - 1}).all()
    return [name for name, _ in found], [start for _, start in found]


def _named(key: SeriesKey) -> dict[str, str]:
    return {"suite": key.suite, "fingerprint": key.fingerprint, "metric": str(key.metric)}


def _bounds(figure: Estimate) -> dict[str, float | None]:
    """Bounds that rounding pushed past their figure are put back on it; the database would refuse them."""
    low, high = (bound if bound is not None and isfinite(bound) else None for bound in (figure.low, figure.high))
    return {
        "low": None if low is None else min(low, figure.value),
        "high": None if high is None else max(high, figure.value),
    }
