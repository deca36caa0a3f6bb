"""Plots that more than one dashboard has."""

from grafana_foundation_sdk.models import dashboard

from dashboards.grafana.looks import doubtful
from dashboards.grafana.postgres import Format, Sql
from dashboards.grafana.tiles import Tile

__all__ = ["UNIT_OF_DATA", "series_by_night", "unit_of_metric", "worded"]

UNIT_OF_DATA = dashboard.DataTransformerConfig(
    id_val="configFromData",
    options={
        "configRefId": "B",
        "applyTo": {"id": "byType", "options": "number"},
        "mappings": [{"fieldName": "unit", "handlerKey": "unit"}],
    },
)
"""Grafana's "config from query results": a panel of one figure among several takes its unit from query B."""


def unit_of_metric() -> Sql:
    """Grafana's name for the unit of the chosen figure."""
    return Sql("""
        SELECT CASE
            WHEN chosen.metric LIKE '%\\_ns' THEN 'ns' WHEN chosen.metric = 'tokens_per_s' THEN 'suffix: tokens/s'
            ELSE 'reqps'
        END AS unit
        FROM (SELECT ${metric:sqlstring} AS metric) AS chosen""")


def worded(value: str, metric: str) -> str:
    """SQL: a figure as text with its unit, where one column holds figures of several kinds."""
    return (
        f"CASE WHEN {metric} LIKE '%\\_ns' THEN to_char({value} / 1e6, 'FM999999990.000') || ' ms'"
        f" ELSE to_char({value}, 'FM999999990.0') || '/s' END"
    )


def series_by_night(*, width: int, height: int, repeat: str | None = None) -> Tile:
    """The chosen figure of a series with its interval; doubted nights apart, gaps left open, changes written in."""
    text = """
        SELECT
            calendar.night AS "time",
            CASE WHEN NOT trend.doubted THEN trend.value END AS "value",
            CASE WHEN NOT trend.doubted THEN trend.low END AS "95 % low",
            CASE WHEN NOT trend.doubted THEN trend.high END AS "95 % high",
            CASE WHEN trend.doubted THEN trend.value END AS "doubted"
        FROM suite_calendar AS calendar
        LEFT JOIN series_trend AS trend ON trend.run_id = calendar.run_id AND trend.suite = calendar.suite
            AND trend.fingerprint IN (${fingerprint:sqlstring}) AND trend.metric IN (${metric:sqlstring})
        WHERE calendar.suite IN (${suite:sqlstring}) AND $__timeFilter(calendar.night)
            AND calendar.hardware = (
                SELECT hardware FROM case_facts WHERE fingerprint IN (${fingerprint:sqlstring}) LIMIT 1
            )
        ORDER BY calendar.night"""
    return Tile(
        doubtful(None),
        (Sql(text, Format.TIME_SERIES), unit_of_metric()),
        "${fingerprint:text} · ${metric:text}",
        "One point a night, over its rounds, with its 95 % interval as a band. Orange: a night whose figure is doubted;"
        " it is shown and never judged. A gap is a night without a figure.",
        width,
        height,
        repeat,
        (UNIT_OF_DATA,),
    )
