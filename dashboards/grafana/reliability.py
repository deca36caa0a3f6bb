"""How far the figures can be trusted: errors, doubts, and the machine itself."""

from grafana_foundation_sdk.builders import dashboard as build

from dashboards.grafana import variables
from dashboards.grafana.house import new
from dashboards.grafana.links import MORNING, RELIABILITY, SERVER, field, prefect_link, to
from dashboards.grafana.looks import banded, figures, lines, nightly_bars, with_column
from dashboards.grafana.postgres import Format, Sql, filled
from dashboards.grafana.tiles import Heading, Tile, place

__all__ = ["reliability"]


def reliability() -> build.Dashboard:
    house = new(
        RELIABILITY,
        "Reliability",
        "Errors, doubts, failed starts, and whether the machine itself stayed the same.",
        [
            variables.suite(),
            variables.device(),
            variables.servers(),
            variables.canary(),
            variables.prefect(),
        ],
        since="now-30d",
    )
    return place(
        house,
        [
            Heading("Servers"),
            _errors(),
            _doubts(),
            _starts(),
            _missing(),
            Heading("The machine's canaries"),
            _canary(),
            Heading("The GPUs"),
            _clocks(),
            _temperature(),
            Heading("Nights"),
            _nights(),
        ],
    )


def _errors() -> Tile:
    text = """
        WITH figures AS (
            SELECT
                run_id, night, server, 100 * failed_count::DOUBLE PRECISION / (ok_count + failed_count) AS value
            FROM server_nights
            WHERE suite IN (${suite:sqlstring}) AND hardware IN (${device:sqlstring})
                AND server IN (${server:sqlstring}) AND $__timeFilter(night) AND ok_count + failed_count > 0
        )
        SELECT night AS "time", server AS metric, value
        FROM figures
        UNION ALL
        SELECT calendar.night, servers.server, NULL
        FROM suite_calendar AS calendar
        CROSS JOIN (SELECT DISTINCT server FROM figures) AS servers
        WHERE calendar.suite IN (${suite:sqlstring}) AND calendar.hardware IN (${device:sqlstring})
            AND $__timeFilter(calendar.night)
            AND NOT EXISTS (SELECT FROM figures WHERE figures.run_id = calendar.run_id)
        ORDER BY 1"""
    return Tile(
        lines("percent").min(0),
        (Sql(text, Format.TIME_SERIES),),
        "Requests that failed, %",
        "Of all requests inside the measured windows: refused, timed out, answered wrongly or not at all. They never"
        " count as fast ones.",
        12,
    )


def _doubts() -> Tile:
    text = """
        SELECT night AS "time", reason AS metric, sum(series) AS value
        FROM doubt_nights
        WHERE suite IN (${suite:sqlstring}) AND hardware IN (${device:sqlstring}) AND server IN (${server:sqlstring})
            AND $__timeFilter(night)
        GROUP BY night, reason
        ORDER BY night"""
    return Tile(
        nightly_bars("none"),
        (Sql(text, Format.TIME_SERIES),),
        "Series doubted by reason, counts",
        "A series may be doubted for several reasons, and is counted at each.",
        12,
    )


def _starts() -> Tile:
    text = """
        SELECT night AS "time", server || ': ' || failure_kind AS metric, count(*) AS value
        FROM deployment_facts
        WHERE suite IN (${suite:sqlstring}) AND hardware IN (${device:sqlstring}) AND server IN (${server:sqlstring})
            AND failure_kind IS NOT NULL AND $__timeFilter(night)
        GROUP BY night, server, failure_kind
        ORDER BY night"""
    return Tile(
        nightly_bars("none"),
        (Sql(text, Format.TIME_SERIES),),
        "Starts that failed, counts",
        "Servers that did not come up, by what became of them.",
        12,
    )


def _missing() -> Tile:
    text = """
        SELECT night AS "time", reason AS metric, count(*) AS value
        FROM missing_facts
        WHERE suite IN (${suite:sqlstring}) AND hardware IN (${device:sqlstring}) AND server IN (${server:sqlstring})
            AND $__timeFilter(night)
        GROUP BY night, reason
        ORDER BY night"""
    return Tile(
        nightly_bars("none"),
        (Sql(text, Format.TIME_SERIES),),
        "Cells that were not timed, counts",
        "Planned cells with a gap in their place, by reason.",
        12,
    )


def _canary() -> Tile:
    text = """
        SELECT
            calendar.night AS "time", canaries.duration_ns AS "value", canaries.duration_least_ns AS "least",
            canaries.duration_most_ns AS "most"
        FROM suite_calendar AS calendar
        LEFT JOIN canary_nights AS canaries ON canaries.run_id = calendar.run_id
            AND canaries.canary IN (${canary:sqlstring})
        WHERE calendar.suite IN (${suite:sqlstring}) AND calendar.hardware IN (${device:sqlstring})
            AND $__timeFilter(calendar.night)
        ORDER BY calendar.night"""
    return Tile(
        banded("ns", "least", "most"),
        (Sql(text, Format.TIME_SERIES),),
        "Machine canary ${canary}, ms",
        "The same fixed work at every round's start, without any server: median, least and most of the night. Where it"
        " moves, the machine did.",
        8,
        8,
        repeat="canary",
    )


_OF_GPUS = """
        WITH figures AS (
            SELECT run_id, gpu, least, median, most
            FROM gpu_nights
            WHERE suite IN (${suite:sqlstring}) AND hardware IN (${device:sqlstring}) AND metric = {metric}
                AND $__timeFilter(night)
        )
        SELECT calendar.night AS "time", gpus.gpu AS metric, {columns}
        FROM suite_calendar AS calendar
        CROSS JOIN (SELECT DISTINCT gpu FROM figures) AS gpus
        LEFT JOIN figures ON figures.run_id = calendar.run_id AND figures.gpu = gpus.gpu
        WHERE calendar.suite IN (${suite:sqlstring}) AND calendar.hardware IN (${device:sqlstring})
            AND $__timeFilter(calendar.night)
        ORDER BY calendar.night"""


def _clocks() -> Tile:
    columns = 'figures.median * 1e6 AS "median", figures.least * 1e6 AS "least"'
    return Tile(
        lines("hertz").decimals(3).no_value("no GPU was seen in these nights"),
        (Sql(filled(_OF_GPUS, metric="'sm_clock_mhz'", columns=columns), Format.TIME_SERIES),),
        "SM clock of each GPU, Hz",
        "One sample from the middle of every cell: median and least of the night. A clock that is held down makes every"
        " server slow.",
        12,
    )


def _temperature() -> Tile:
    columns = 'figures.median AS "median", figures.most AS "most"'
    return Tile(
        lines("celsius").no_value("no GPU was seen in these nights"),
        (Sql(filled(_OF_GPUS, metric="'temperature_c'", columns=columns), Format.TIME_SERIES),),
        "Temperature of each GPU, °C",
        "One sample from the middle of every cell: median and most of the night.",
        12,
    )


def _nights() -> Tile:
    text = """
        SELECT
            night, status, planned, measured, missing, doubted, failed_deployments AS "starts failed",
            duration_s AS took, alerts_opened AS alerts, detail, run_id AS run
        FROM night_status
        WHERE suite IN (${suite:sqlstring}) AND hardware IN (${device:sqlstring}) AND $__timeFilter(night)
        ORDER BY night DESC
        LIMIT 500"""
    panel = figures()
    there = to(MORNING, "This night", {"suite": "${suite:percentencode}", "run": field("run")})
    server = to(SERVER, "Its servers", {"suite": "${suite:percentencode}", "run": field("run")})
    with_column(panel, "run", {"links": [there, server, prefect_link()], "custom.width": 220})
    with_column(panel, "took", {"unit": "s"})
    with_column(panel, "night", {"custom.width": 160})
    return Tile(
        panel,
        (Sql(text),),
        "Nights, cells and seconds",
        "How each night ended, and how much of it is there.",
        24,
        9,
    )
