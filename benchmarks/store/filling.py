"""Years of nights from one: the first is ingested as every night is, the others are copies of it, drawn anew.

Night for night each series' figures are multiplied by a factor of its own: a slow random walk, noise of 3 %, and in one
series of five a step of 10 % that stays. The factors travel by COPY; Postgres multiplies. One cell in a hundred is left
out of every night and one in twenty doubted. Checks and keys are Postgres's as ever, references are trusted.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Double, Engine, Table, text

from benchmarks.store.night import SUITE, World, run_id_of
from db.judge_tables import canaries
from db.measurement_tables import measurements, telemetry
from db.months import make_months
from db.rollups import roll_up
from db.tables import calibrations, deployments, missing_cells, parity, run_artifacts, runs, wire_parity

__all__ = ["Years", "fill", "keys_off", "keys_on"]

_NOISE, _WALK, _STEP = 0.03, 0.002, 0.10
_MISSING, _DOUBTED = 0.01, 0.05
_BY_THE_NIGHT: tuple[Table, ...] = (
    *(runs, run_artifacts, deployments, calibrations, canaries, parity, wire_parity, missing_cells),
)
_TIMES = {"started_at", "finished_at"}
_RATES = ("_rps", "_per_s")
_NOT_DRAWN = {"offered_rps", "client_cpu_ns_per_request", "ceiling_share"}
_METRICS = ("throughput", "rps"), ("latency_p50", "ns"), ("latency_p99", "ns")


@dataclass(frozen=True, slots=True)
class Years:
    """When nights were."""

    nights: int
    series: int
    telemetry_nights: int
    """The newest, of which telemetry is there; older ones have lost it by age."""
    last: datetime = datetime(2026, 11, 19, 2, 30, tzinfo=UTC)

    @property
    def starts(self) -> list[datetime]:
        return [self.last - timedelta(days=number) for number in reversed(range(self.nights))]

    def factors(self) -> NDArray[np.float64]:
        """By night and series; more is slower."""
        rng = np.random.default_rng(20261120)
        shape = (self.nights, self.series)
        walk = np.cumsum(rng.normal(0.0, _WALK, shape), axis=0)
        stepping = rng.random(self.series) < 0.2
        step_at = rng.integers(0, self.nights, self.series)
        step = np.where(stepping & (np.arange(self.nights)[:, None] >= step_at), _STEP, 0.0)
        drawn: NDArray[np.float64] = np.exp(walk - walk.mean(axis=0) + rng.normal(0.0, _NOISE, shape)) * (1.0 + step)
        return drawn


def fill(engine: Engine, years: Years, world: World, say: Callable[[str], None]) -> None:
    """Copy the one night that is there to all the others."""
    first, *others = years.starts
    factors = years.factors()
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        _name_series(connection, world)
        _name_nights(connection, [first, *others])
        for table in _BY_THE_NIGHT:
            _copy_by_night(connection, table)
    numbered = enumerate(others, 1)
    for month, nights in groupby(numbered, lambda each: date(each[1].year, each[1].month, 1)):
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text("SET LOCAL synchronous_commit = off"))
            make_months(connection, [month])
            numbers = [number for number, _ in nights]
            _send(connection, factors, numbers)
            _draw(connection)
            with_telemetry = [number for number in numbers if number >= years.nights - years.telemetry_nights]
            _copy_telemetry(connection, with_telemetry)
            _point_at_newest(connection)
            roll_up(connection, [run_id_of(years.starts[number]) for number in numbers])
        say(f"{month:%Y-%m}")


def keys_off(connection: Connection) -> None:
    """The largest indexes are made once, at the end."""
    for table in ("series_points", "judgements", "night_series"):
        connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT pk_{table}"))


def keys_on(connection: Connection) -> None:
    for table, key in (
        ("series_points", "fingerprint, metric, suite, run_id"),
        ("judgements", "run_id, fingerprint, metric"),
        ("night_series", "fingerprint, run_id"),
    ):
        connection.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY ({key})"))


def _name_series(connection: Connection, world: World) -> None:
    connection.execute(text("CREATE TABLE filling_series (number INTEGER PRIMARY KEY, fingerprint TEXT)"))
    lines = "".join(f"{number}\t{case.fingerprint}\n" for number, case in enumerate(world.cases))
    _copy(connection, "filling_series", lines)


def _name_nights(connection: Connection, starts: Sequence[datetime]) -> None:
    connection.execute(text("CREATE TABLE filling_nights (number INTEGER PRIMARY KEY, run_id TEXT, later INTERVAL)"))
    lines = (
        f"{number}\t{run_id_of(start)}\t{(start - starts[0]).total_seconds():.0f} s\n"
        for number, start in enumerate(starts)
    )
    _copy(connection, "filling_nights", "".join(lines))
    connection.execute(
        text("CREATE TABLE filling_factors (night INTEGER, series INTEGER, factor DOUBLE PRECISION, doubted BOOLEAN)")
    )
    connection.execute(text("CREATE TABLE filling_model AS SELECT * FROM measurements"))


def _copy_by_night(connection: Connection, table: Table) -> None:
    names = [column.name for column in table.c]
    values = [f"base.{name} + night.later" if name in _TIMES else f"base.{name}" for name in names]
    values[names.index("run_id")] = "night.run_id"
    connection.execute(
        text(
            f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {', '.join(values)}"  # noqa: S608 - our own names
            f" FROM {table.name} AS base CROSS JOIN filling_nights AS night WHERE night.number > 0"
        )
    )


def _send(connection: Connection, factors: NDArray[np.float64], nights: Sequence[int]) -> None:
    rng = np.random.default_rng(nights[0])
    series = factors.shape[1]

    def lines() -> Iterator[str]:
        for night in nights:
            there = np.flatnonzero(rng.random(series) > _MISSING)
            doubted = np.where(rng.random(len(there)) < _DOUBTED, "t", "f")
            for number, doubt in zip(there.tolist(), doubted.tolist(), strict=True):
                yield f"{night}\t{number}\t{factors[night, number]:.6g}\t{doubt}\n"

    connection.execute(text("TRUNCATE filling_factors"))
    _copy(connection, "filling_factors", "".join(lines()))
    connection.execute(text("ANALYZE filling_factors"))


def _draw(connection: Connection) -> None:
    """A month's measurements, the points of its series, and what was said of them."""
    columns = [column for column in measurements.c if column.computed is None]
    drawn = {column.name: _drawn(column.name) for column in columns if isinstance(column.type, Double)}
    drawn |= {
        "run_id": "night.run_id",
        "started_at": "model.started_at + night.later",
        "doubts": (
            """CASE WHEN factors.doubted THEN '[{"reason": "foreign_load", "detail": "31 %", "figures": []}]'"""
            " ELSE '[]'::JSONB END"
        ),
    }
    names = [column.name for column in columns]
    connection.execute(
        text(
            f"INSERT INTO measurements ({', '.join(names)})"  # noqa: S608 - our own names
            f" SELECT {', '.join(drawn.get(name, f'model.{name}') for name in names)}"
            " FROM filling_factors AS factors JOIN filling_series AS series ON series.number = factors.series"
            " JOIN filling_model AS model ON model.fingerprint = series.fingerprint"
            " JOIN filling_nights AS night ON night.number = factors.night"
            " ORDER BY night.number, series.number"
        )
    )
    figures = ", ".join(
        f"('{name}_{unit}', {name}_{unit}, {name}_low_{unit}, {name}_high_{unit})" for name, unit in _METRICS
    )
    connection.execute(
        text(f"""
WITH nights AS (
    SELECT night.run_id FROM filling_nights AS night WHERE night.number IN (SELECT night FROM filling_factors)
), points AS (
    INSERT INTO series_points (suite, fingerprint, metric, run_id, value, low, high, doubts)
    SELECT '{SUITE}', timed.fingerprint, figure.metric, timed.run_id, figure.value, figure.low, figure.high,
        CASE WHEN timed.doubted THEN ARRAY['foreign_load'] ELSE ARRAY[]::TEXT[] END
    FROM nights JOIN measurements AS timed USING (run_id) JOIN cases USING (fingerprint)
    CROSS JOIN LATERAL (VALUES {figures}) AS figure (metric, value, low, high)
    WHERE figure.metric <> 'throughput_rps' OR cases.load_kind = 'closed'
    RETURNING *
)
INSERT INTO judgements (run_id, fingerprint, metric, suite, verdict, detail, since, last_before, nights, before_value,
    after_value, p_value, firm)
SELECT run_id, fingerprint, metric, suite,
    CASE WHEN doubts <> '{{}}' THEN 'invalid' WHEN changed THEN 'regressed' ELSE 'ok' END,
    CASE WHEN doubts <> '{{}}' THEN 'tonight''s figure is doubted' WHEN changed THEN 'slower by 10 %' ELSE '' END,
    CASE WHEN changed THEN run_id END, CASE WHEN changed THEN run_id END, CASE WHEN changed THEN 1 END,
    CASE WHEN changed THEN value END, CASE WHEN changed THEN value * 1.1 END, CASE WHEN changed THEN 0.001 END,
    CASE WHEN changed THEN true END
FROM (SELECT *, doubts = '{{}}' AND hashtext(fingerprint || metric || run_id) % 1000 = 0 AS changed FROM points) AS said
""")  # noqa: S608 - our own names
    )


def _point_at_newest(connection: Connection) -> None:
    connection.execute(
        text("""
UPDATE latest_cells SET run_id = newest.run_id, cell_id = newest.cell_id, started_at = newest.started_at
FROM (
    SELECT DISTINCT ON (fingerprint) fingerprint, run_id, cell_id, started_at FROM measurements
    WHERE run_id IN (SELECT run_id FROM filling_nights WHERE number IN (SELECT night FROM filling_factors))
    ORDER BY fingerprint, started_at DESC
) AS newest
WHERE newest.fingerprint = latest_cells.fingerprint
""")
    )


def _drawn(name: str) -> str:
    if name in _NOT_DRAWN:
        return f"model.{name}"
    return f"model.{name} {'/' if name.endswith(_RATES) else '*'} factor"


def _copy_telemetry(connection: Connection, nights: Sequence[int]) -> None:
    names = [column.name for column in telemetry.c]
    quoted = ", ".join(f'"{name}"' for name in names)
    values = ", ".join("night.run_id" if name == "run_id" else f'base."{name}"' for name in names)
    connection.execute(
        text(f"""
INSERT INTO telemetry ({quoted}) SELECT {values}
FROM filling_nights AS night JOIN measurements ON measurements.run_id = night.run_id
JOIN telemetry AS base ON base.run_id = (SELECT run_id FROM filling_nights WHERE number = 0)
    AND base.cell_id = measurements.cell_id
WHERE night.number = ANY(:nights)
"""),  # noqa: S608 - our own names
        {"nights": list(nights)},
    )


def _copy(connection: Connection, table: str, lines: str) -> None:
    cursor = connection.connection.cursor()
    cursor.copy_expert(f"COPY {table} FROM STDIN", io.StringIO(lines))
