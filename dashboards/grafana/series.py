"""One series, to the bottom: where a message's link leads."""

from grafana_foundation_sdk.builders import dashboard as build

from dashboards.grafana import variables
from dashboards.grafana.house import new
from dashboards.grafana.links import MORNING, SERIES, SERVER, field, prefect_link, to
from dashboards.grafana.looks import figures, lines, states, with_column
from dashboards.grafana.notes import change_points, verdicts
from dashboards.grafana.plots import UNIT_OF_DATA, series_by_night, unit_of_metric, worded
from dashboards.grafana.postgres import Format, Sql, filled
from dashboards.grafana.tiles import Tile, place

__all__ = ["series"]


def series() -> build.Dashboard:
    house = new(
        SERIES,
        "Series",
        "One series: every night, every round, what it is and what was said of it.",
        [
            variables.suite(),
            variables.device(),
            variables.servers(),
            variables.models(),
            variables.fingerprint(several=False),
            variables.metric(),
            variables.prefect(),
        ],
        since="now-90d",
    ).annotations([verdicts(), change_points()])
    return place(house, [series_by_night(width=24, height=10), _rounds(), _versions(), _what(), _nights()])


def _rounds() -> Tile:
    text = """
        SELECT started_at AS "time",
            CASE WHEN NOT doubted THEN value END AS "round",
            CASE WHEN doubted THEN value END AS "doubted round"
        FROM round_figures
        WHERE fingerprint IN (${fingerprint:sqlstring}) AND suite IN (${suite:sqlstring})
            AND metric IN (${metric:sqlstring}) AND $__timeFilter(started_at)
        ORDER BY started_at"""
    panel = lines(None)
    points = {"custom.drawStyle": "points", "custom.pointSize": 6}
    with_column(panel, "round", points | {"color": {"mode": "fixed", "fixedColor": "blue"}})
    with_column(panel, "doubted round", points | {"color": {"mode": "fixed", "fixedColor": "orange"}})
    return Tile(
        panel,
        (Sql(text, Format.TIME_SERIES), unit_of_metric()),
        "Each round · ${metric:text}",
        "Every deployment's own figure: how far they lie apart within a night is what its interval is made of. Rounds"
        " are kept for as long as retention says, nights for ever.",
        14,
        8,
        transformations=(UNIT_OF_DATA,),
    )


def _versions() -> Tile:
    text = """
        SELECT DISTINCT ON (deployments.night) deployments.night AS "time",
            deployments.server_version AS "server version", deployments.launcher AS "started as",
            coalesce(nullif(left(deployments.image_digest, 19), ''), 'no image') AS "image"
        FROM deployment_facts AS deployments
        JOIN case_facts ON case_facts.server = deployments.server AND case_facts.model = deployments.model
            AND case_facts.format = deployments.format AND case_facts.precision = deployments.precision
        WHERE case_facts.fingerprint IN (${fingerprint:sqlstring}) AND deployments.suite IN (${suite:sqlstring})
            AND $__timeFilter(deployments.night)
        ORDER BY deployments.night, deployments.round"""
    return Tile(
        states(),
        (Sql(text),),
        "What served it, version",
        "The server's version, how it was started and from which image, night by night: the first thing to compare"
        " with a step above.",
        10,
        8,
    )


def _what() -> Tile:
    text = """
        SELECT fact.key AS fact, fact.value
        FROM case_facts
        CROSS JOIN LATERAL jsonb_each_text(jsonb_strip_nulls(to_jsonb(case_facts))) AS fact
        WHERE fingerprint IN (${fingerprint:sqlstring})
        ORDER BY fact.key"""
    return Tile(
        figures(),
        (Sql(text),),
        "What the series is, facts",
        "All that must be equal for two nights to be compared; its hash is the fingerprint.",
        8,
        10,
    )


def _nights() -> Tile:
    text = """
        SELECT
            night, {value} AS figure, {low} AS "95 % low",
            {high} AS "95 % high", verdict, array_to_string(doubts, ', ') AS doubts,
            CASE WHEN base THEN 'history begins here' END AS baseline, said AS detail, run_id AS run, server, model
        FROM series_trend
        WHERE suite IN (${suite:sqlstring}) AND fingerprint IN (${fingerprint:sqlstring})
            AND metric IN (${metric:sqlstring})
            AND $__timeFilter(night)
        ORDER BY night DESC
        LIMIT 500"""
    columns = {name: worded(name, "metric") for name in ("value", "low", "high")}
    panel = figures()
    night = to(MORNING, "The whole night", {"suite": "${suite:percentencode}", "run": field("run")})
    machine = to(
        SERVER,
        "Its server in that night",
        {"server": field("server"), "model": field("model"), "run": field("run"), "suite": "${suite:percentencode}"},
    )
    with_column(panel, "run", {"links": [night, machine, prefect_link()], "custom.width": 220})
    with_column(panel, "night", {"custom.width": 160})
    for column in ("server", "model"):
        with_column(panel, column, {"custom.hidden": True})
    return Tile(
        panel,
        (Sql(filled(text, **columns)),),
        "Its nights, ms or /s",
        "Each night's figure with its 95 % interval, what was said of it and every reason to doubt it.",
        16,
        10,
    )
