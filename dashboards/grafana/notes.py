"""What is written into the plots of series: verdicts, and where history steps."""

from grafana_foundation_sdk.builders import dashboard as build

from dashboards.grafana.postgres import SOURCE, AnnotationSql, Sql

__all__ = ["change_points", "verdicts"]


def verdicts() -> build.AnnotationQuery:
    """Of the chosen series and figure, on the first night that each is said; fine nights carry none.

    Only judgements that carry one are read beside the points, so that ``before`` is null after a fine night.
    """
    text = """
        SELECT said.night AS "time", case_facts.label || ': ' || said.text AS text, 'verdict' AS tags
        FROM (
            SELECT
                trend.fingerprint, trend.night, notes.text, notes.verdict,
                lag(notes.verdict) OVER (PARTITION BY trend.fingerprint ORDER BY trend.night) AS before
            FROM series_trend AS trend
            LEFT JOIN change_notes AS notes ON notes.kind = 'verdict'
                AND notes.fingerprint IN (${fingerprint:sqlstring}) AND notes.metric IN (${metric:sqlstring})
                AND notes.run_id = trend.run_id AND notes.fingerprint = trend.fingerprint
                AND notes.metric = trend.metric
            WHERE trend.suite IN (${suite:sqlstring}) AND trend.fingerprint IN (${fingerprint:sqlstring})
                AND trend.metric IN (${metric:sqlstring}) AND $__timeFilter(trend.night)
        ) AS said
        JOIN case_facts ON case_facts.fingerprint = said.fingerprint
        WHERE said.verdict IS NOT NULL AND said.verdict IS DISTINCT FROM said.before
        ORDER BY said.night"""
    return _notes("Verdicts", text, "red")


def change_points() -> build.AnnotationQuery:
    """Where the whole history of a series steps, seen from today: the first night at the new level."""
    text = """
        SELECT notes.night AS "time", case_facts.label || ': ' || notes.text AS text, 'located change' AS tags
        FROM change_notes AS notes
        JOIN case_facts ON case_facts.fingerprint = notes.fingerprint
        WHERE notes.kind = 'change_point' AND notes.suite IN (${suite:sqlstring})
            AND notes.fingerprint IN (${fingerprint:sqlstring}) AND notes.metric IN (${metric:sqlstring})
            AND $__timeFilter(notes.night)
        ORDER BY notes.night"""
    return _notes("Located changes", text, "purple")


def _notes(name: str, text: str, colour: str) -> build.AnnotationQuery:
    return (
        build.AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(True)
        .hide(False)
        .icon_color(colour)
        .target(AnnotationSql(Sql(text)))
    )
