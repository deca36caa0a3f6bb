"""Many nights of the chosen series."""

from grafana_foundation_sdk.builders import dashboard as build

from dashboards.grafana import variables
from dashboards.grafana.house import new
from dashboards.grafana.links import SERIES, TRENDS, field, prefect_link, to
from dashboards.grafana.looks import figures, lines, with_column
from dashboards.grafana.notes import change_points, verdicts
from dashboards.grafana.plots import series_by_night, worded
from dashboards.grafana.postgres import Format, Sql, filled
from dashboards.grafana.tiles import Heading, Tile, place

__all__ = ["trends"]


def trends() -> build.Dashboard:
    house = new(
        TRENDS,
        "Trends",
        "The chosen series night by night, each with its interval, what was said of it and where it steps.",
        [
            variables.suite(),
            variables.device(),
            variables.servers(),
            variables.models(),
            variables.metric(),
            variables.fingerprint(several=True),
            variables.prefect(),
        ],
        since="now-90d",
    ).annotations([verdicts(), change_points()])
    return place(
        house,
        [
            Heading("Side by side"),
            _together(),
            Heading("One by one"),
            series_by_night(width=12, height=9, repeat="fingerprint"),
            Heading("What was said"),
            _said(),
        ],
    )


def _together() -> Tile:
    text = """
        WITH shown AS (
            SELECT
                trend.run_id, trend.fingerprint, trend.label, CASE WHEN NOT trend.doubted THEN trend.value END AS value
            FROM series_trend AS trend
            WHERE trend.suite IN (${suite:sqlstring}) AND trend.fingerprint IN (${fingerprint:sqlstring})
                AND trend.metric IN (${metric:sqlstring}) AND $__timeFilter(trend.night)
        ), usual AS (
            SELECT fingerprint, label, percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS value
            FROM shown
            GROUP BY fingerprint, label
        )
        SELECT calendar.night AS "time", usual.label AS metric, 100 * (shown.value / usual.value - 1) AS value
        FROM suite_calendar AS calendar
        CROSS JOIN usual
        LEFT JOIN shown ON shown.run_id = calendar.run_id AND shown.fingerprint = usual.fingerprint
        WHERE calendar.suite IN (${suite:sqlstring}) AND calendar.hardware IN (${device:sqlstring})
            AND $__timeFilter(calendar.night)
        ORDER BY calendar.night"""
    return Tile(
        lines("percent"),
        (Sql(text, Format.TIME_SERIES),),
        "${metric:text}: change against each series' own median, %",
        "Series of different levels on one axis: each night's figure over the median of the nights shown. Doubted"
        " nights are left out here.",
        24,
        9,
    )


def _said() -> Tile:
    text = """
        SELECT
            trend.night, trend.label AS series, trend.verdict, {value} AS figure,
            100 * (trend.ratio - 1) AS "change", array_to_string(trend.doubts, ', ') AS doubts, trend.said AS detail,
            trend.fingerprint, trend.metric, trend.run_id AS run
        FROM series_trend AS trend
        WHERE trend.suite IN (${suite:sqlstring}) AND trend.fingerprint IN (${fingerprint:sqlstring})
            AND trend.metric IN (${metric:sqlstring}) AND $__timeFilter(trend.night)
            AND (trend.doubted OR trend.verdict NOT IN ('ok', 'insufficient'))
        ORDER BY trend.night DESC
        LIMIT 500"""
    panel = figures()
    here = to(
        SERIES,
        "This series",
        {"suite": "${suite:percentencode}", "fingerprint": field("fingerprint"), "metric": field("metric")},
    )
    with_column(panel, "series", {"links": [here], "custom.width": 380})
    with_column(panel, "night", {"custom.width": 160})
    with_column(panel, "change", {"unit": "percent", "decimals": 1})
    with_column(panel, "run", {"links": [prefect_link()]})
    for column in ("fingerprint", "metric"):
        with_column(panel, column, {"custom.hidden": True})
    return Tile(
        panel,
        (Sql(filled(text, value=worded("trend.value", "trend.metric"))),),
        "Nights with a verdict or a doubt, %",
        "Fine nights are left out. Change is of the level over history, with its first night where it was located.",
        24,
        9,
    )
