"""What there is to know in the morning: what changed, what failed, what is doubted."""

from grafana_foundation_sdk.builders import dashboard as build

from dashboards.grafana import variables
from dashboards.grafana.house import new
from dashboards.grafana.links import MORNING, SERIES, SERVER, field, prefect_link, to
from dashboards.grafana.looks import figures, nightly_bars, numbers, ranking, with_column
from dashboards.grafana.plots import worded
from dashboards.grafana.postgres import Format, Sql, filled
from dashboards.grafana.tiles import Heading, Tile, place

__all__ = ["morning"]


def morning() -> build.Dashboard:
    house = new(
        MORNING,
        "Morning",
        "What last night changed, what failed in it, and what of it is doubted.",
        [variables.suite(), variables.device(), variables.night(), variables.prefect()],
        since="now-30d",
    )
    return place(
        house,
        [
            _counts(),
            Heading("What changed"),
            _changed(),
            Heading("What failed, and what is doubted"),
            _failed(),
            _doubted(),
            Heading("Counts"),
            _by_server(),
            _nights(),
            Heading("Alerts"),
            _alerts(),
            _precision(),
        ],
    )


def _counts() -> Tile:
    text = """
        SELECT
            measured AS "cells measured", planned AS "cells planned", missing AS "cells missing",
            doubted AS "cells doubted", failed_deployments AS "starts failed", alerts_opened AS "alerts opened"
        FROM night_status
        WHERE run_id IN (${run:sqlstring})"""
    return Tile(
        numbers(),
        (Sql(text),),
        "This night, counts",
        "Cells are timed once a round. Planned cells that were not timed are missing, each with its reason below; a"
        " doubted cell was timed, and something speaks against its figures.",
        24,
        4,
    )


def _changed() -> Tile:
    text = """
        SELECT
            nights.verdict, case_facts.label AS series, nights.metric,
            {before} AS before,
            {after} AS after,
            100 * (nights.ratio - 1) AS "change",
            100 * (nights.confirmed_ratio_low - 1) AS "re-run low",
            100 * (nights.confirmed_ratio_high - 1) AS "re-run high",
            nights.p_value AS "by chance", nights.since_started_at AS since, nights.detail, nights.fingerprint
        FROM judgement_nights AS nights
        JOIN case_facts ON case_facts.fingerprint = nights.fingerprint
        WHERE nights.run_id IN (${run:sqlstring})
            AND nights.verdict IN ('suspected', 'regressed', 'improved', 'environment')
        ORDER BY abs(ln(nights.ratio)) DESC NULLS LAST
        LIMIT 500"""
    levels = {side: worded(f"nights.{side}_value", "nights.metric") for side in ("before", "after")}
    panel = figures()
    here = to(
        SERIES,
        "This series, night by night",
        {"suite": "${suite:percentencode}", "fingerprint": field("fingerprint"), "metric": field("metric")},
    )
    with_column(panel, "series", {"links": [here], "custom.width": 380})
    for column in ("change", "re-run low", "re-run high"):
        with_column(panel, column, {"unit": "percent", "decimals": 1})
    with_column(panel, "by chance", {"unit": "sci", "decimals": 1})
    with_column(panel, "since", {"custom.width": 160})
    with_column(panel, "fingerprint", {"custom.hidden": True})
    return Tile(
        panel,
        (Sql(filled(text, **levels)),),
        "Series that changed, %",
        "The verdicts of this night that are neither fine nor for want of nights. Before and after are levels over"
        " history; change is of the level, and the re-run's bounds are the 95 % interval of its ratio. By chance: how"
        " likely so much is where nothing changed.",
        24,
        9,
    )


def _failed() -> Tile:
    text = """
        SELECT
            'start of a server' AS what, server, model, failure_kind AS reason, count(*) AS times,
            min(failure) AS detail, min(log_path) AS log, min(log_tail) AS "last words"
        FROM deployment_facts
        WHERE run_id IN (${run:sqlstring}) AND failure_kind IS NOT NULL
        GROUP BY server, model, failure_kind
        UNION ALL
        SELECT 'cell', server, model, reason, count(*), min(detail), NULL, NULL
        FROM missing_facts
        WHERE run_id IN (${run:sqlstring})
        GROUP BY server, model, reason
        UNION ALL
        SELECT 'answer', server, model, 'output differs', count(*),
            'nrmse ' || to_char(max(nrmse), '9.9EEEE'), NULL, NULL
        FROM wire_parity_nights
        WHERE run_id IN (${run:sqlstring}) AND NOT passed
        GROUP BY server, model
        ORDER BY times DESC"""
    panel = figures()
    here = to(SERVER, "This server", {"server": field("server"), "model": field("model"), "run": "${run}"})
    with_column(panel, "server", {"links": [here, prefect_link()]})
    with_column(panel, "last words", {"custom.inspect": True})
    return Tile(
        panel,
        (Sql(text),),
        "What failed, times",
        "Starts that failed, cells that were not timed, and answers that differ from PyTorch's. A log's path is below"
        " nightbench's home folder on the measuring machine; its last words are kept here.",
        14,
    )


def _doubted() -> Tile:
    text = """
        SELECT doubt.reason, count(DISTINCT trend.fingerprint) AS series
        FROM series_trend AS trend
        CROSS JOIN LATERAL unnest(trend.doubts) AS doubt (reason)
        WHERE trend.run_id IN (${run:sqlstring})
        GROUP BY doubt.reason
        ORDER BY 2 DESC"""
    return Tile(
        ranking("none", "series").no_value("nothing is doubted"),
        (Sql(text),),
        "Why series are doubted, counts",
        "Series of this night by each reason to doubt them; a figure may have several.",
        10,
    )


def _by_server() -> Tile:
    verdicts = ("ok", "improved", "suspected", "regressed", "environment", "invalid", "insufficient")
    columns = ", ".join(f"count(*) FILTER (WHERE verdict = '{each}') AS {each}" for each in verdicts)
    text = """
        SELECT hardware AS device, server, {columns}, count(*) AS figures
        FROM judgement_nights
        WHERE run_id IN (${run:sqlstring})
        GROUP BY hardware, server
        ORDER BY hardware, server"""
    panel = figures()
    here = to(SERVER, "This server", {"server": field("server"), "run": "${run}"})
    with_column(panel, "server", {"links": [here], "custom.width": 110})
    return Tile(
        panel,
        (Sql(filled(text, columns=columns)),),
        "Figures by server, device and verdict, counts",
        "What was said of each judged figure. Invalid: tonight's figure is doubted. Insufficient: too few nights yet.",
        12,
    )


def _nights() -> Tile:
    text = """
        SELECT
            night AS "time", greatest(measured - doubted, 0) AS "sound", doubted AS "doubted", missing AS "missing"
        FROM night_status
        WHERE suite IN (${suite:sqlstring}) AND hardware IN (${device:sqlstring}) AND $__timeFilter(night)
        ORDER BY night"""
    panel = nightly_bars("none")
    for column, colour in {"sound": "blue", "doubted": "orange", "missing": "purple"}.items():
        with_column(panel, column, {"color": {"mode": "fixed", "fixedColor": colour}})
    return Tile(
        panel,
        (Sql(text, Format.TIME_SERIES),),
        "Cells by night, counts",
        "All nights of the suite. A night that never ran has no bar.",
        12,
    )


def _alerts() -> Tile:
    text = """
        SELECT
            number, kind, state, title, opened_at AS opened, nights, series, suite,
            first_fingerprint AS fingerprint, first_metric AS metric
        FROM alert_list
        WHERE suite IN (${suite:sqlstring}) AND (live OR opened_run_id IN (${run:sqlstring}))
        ORDER BY number DESC
        LIMIT 200"""
    panel = figures()
    here = to(
        SERIES,
        "Its worst series",
        {"suite": field("suite"), "fingerprint": field("fingerprint"), "metric": field("metric")},
    )
    with_column(panel, "title", {"links": [here], "custom.width": 320})
    with_column(panel, "opened", {"custom.width": 160})
    for column in ("suite", "fingerprint", "metric"):
        with_column(panel, column, {"custom.hidden": True})
    return Tile(
        panel,
        (Sql(text),),
        "Alerts that are open, nights",
        "Nights: how often each was found. `nightbench alerts` acknowledges and closes them.",
        14,
    )


def _precision() -> Tile:
    text = """
        SELECT
            kind, raised, judged, true_alerts AS "true", 100 * share AS "precision",
            100 * CASE WHEN judged > 0 THEN share_low END AS "95 % low",
            100 * CASE WHEN judged > 0 THEN share_high END AS "95 % high"
        FROM alert_precision
        ORDER BY (kind = 'all') DESC, raised DESC"""
    panel = figures()
    for column in ("precision", "95 % low", "95 % high"):
        with_column(panel, column, {"unit": "percent", "decimals": 0})
    return Tile(
        panel,
        (Sql(text),),
        "Precision of alerts over 90 days, %",
        "Of the alerts that people judged, how many they did not call false, with Wilson's 95 % interval.",
        10,
    )
