"""One server with one model: where its time goes."""

from grafana_foundation_sdk.builders import common, trend
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as kinds

from dashboards.grafana import variables
from dashboards.grafana.heat import columns
from dashboards.grafana.house import new
from dashboards.grafana.links import RELIABILITY, SERVER, prefect_link, to
from dashboards.grafana.looks import banded, figures, heat_map, lines, nightly_bars, with_column
from dashboards.grafana.postgres import Format, Sql, filled
from dashboards.grafana.tiles import Heading, Tile, place

__all__ = ["server"]

_SERVER = """suite IN (${suite:sqlstring}) AND hardware IN (${device:sqlstring})
            AND server IN (${server:sqlstring}) AND model IN (${model:sqlstring})"""


def server() -> build.Dashboard:
    house = new(
        SERVER,
        "Server",
        "One server with one model: its latencies, its own account of them, its GPU, its start and its memory.",
        [
            variables.suite(),
            variables.device(),
            variables.server(),
            variables.model(),
            variables.fingerprint(several=False),
            variables.night(),
            variables.prefect(),
        ],
        since="now-90d",
    )
    return place(
        house,
        [
            Heading("The chosen series, night by night"),
            _quantiles(),
            _heat(),
            _split(),
            _memory(),
            _slope(),
            Heading("The GPU in the chosen night"),
            _gpu(
                "utilisation_percent", "avg", "percent", "Utilisation of the GPUs, %", "Mean of all GPUs that are seen."
            ),
            _gpu("power_w", "sum", "watt", "Power of the GPUs, W", "Sum over all GPUs that are seen."),
            _gpu(
                "memory_bytes", "sum", "bytes", "Memory in use on the GPUs, bytes", "Sum over all GPUs that are seen."
            ),
            Heading("Starts"),
            _start(
                "cold_start_ns",
                "Cold start, s",
                "From the start of the process or container to its first right answer.",
            ),
            _start("model_load_ns", "Loading the model, s", "As far as the server tells."),
            _starts(),
        ],
    )


def _quantiles() -> Tile:
    text = """
        SELECT
            calendar.night AS "time", nights.latency_p50_ns AS "p50", nights.latency_p90_ns AS "p90",
            nights.latency_p95_ns AS "p95", nights.latency_p99_ns AS "p99"
        FROM suite_calendar AS calendar
        LEFT JOIN series_nights AS nights ON nights.run_id = calendar.run_id
            AND nights.fingerprint IN (${fingerprint:sqlstring})
        WHERE calendar.suite IN (${suite:sqlstring}) AND calendar.hardware IN (${device:sqlstring})
            AND $__timeFilter(calendar.night)
        ORDER BY calendar.night"""
    return Tile(
        lines("ns").min(0),
        (Sql(text, Format.TIME_SERIES),),
        "Latency quantiles of ${fingerprint:text}, ms",
        "Each the median of the rounds in which it is not doubted. A tail that the samples cannot carry has no point."
        " Intervals: the Series dashboard.",
        12,
        9,
    )


def _heat() -> Tile:
    text = """
        SELECT night AS "time", {steps}
        FROM latency_nights
        WHERE fingerprint IN (${fingerprint:sqlstring}) AND suite IN (${suite:sqlstring}) AND $__timeFilter(night)
        GROUP BY night
        ORDER BY night"""
    return Tile(
        heat_map("none"),
        (Sql(filled(text, steps=columns()), Format.TIME_SERIES),),
        "Latency of successful requests, counts by ms",
        "All rounds' histograms merged, doubted ones among them: a second mode shows as a second stripe. Rows are"
        " latency up to the bound written beside them, the colour is requests.",
        12,
        9,
    )


def _split() -> Tile:
    text = """
        SELECT
            night AS "time",
            percentile_cont(0.5) WITHIN GROUP (ORDER BY queue_us_per_request) * 1000 AS "waiting",
            percentile_cont(0.5) WITHIN GROUP (ORDER BY compute_us_per_request) * 1000 AS "computing"
        FROM cell_facts
        WHERE fingerprint IN (${fingerprint:sqlstring}) AND suite IN (${suite:sqlstring}) AND $__timeFilter(started_at)
            AND NOT doubted
        GROUP BY night
        HAVING count(compute_us_per_request) > 0
        ORDER BY night"""
    panel = nightly_bars("ns").no_value("this server does not say how long requests wait")
    for column, colour in {"waiting": "orange", "computing": "blue"}.items():
        with_column(panel, column, {"color": {"mode": "fixed", "fixedColor": colour}})
    return Tile(
        panel,
        (Sql(text, Format.TIME_SERIES),),
        "Waiting and computing inside the server, ms per request",
        "By the server's own counters (Triton's), mean of a request, median of the rounds that are not doubted.",
        8,
    )


_OVER_ROUNDS = """
        SELECT calendar.night AS "time", nights."value", nights."least", nights."most"
        FROM suite_calendar AS calendar
        LEFT JOIN (
            SELECT
                night, percentile_cont(0.5) WITHIN GROUP (ORDER BY {column}) AS "value",
                min({column}) AS "least", max({column}) AS "most"
            FROM cell_facts
            WHERE fingerprint IN (${fingerprint:sqlstring}) AND suite IN (${suite:sqlstring})
                AND $__timeFilter(started_at)
            GROUP BY night
        ) AS nights ON nights.night = calendar.night
        WHERE calendar.suite IN (${suite:sqlstring}) AND calendar.hardware IN (${device:sqlstring})
            AND $__timeFilter(calendar.night)
        ORDER BY calendar.night"""
"""The median, the least and the most of a night's rounds, with a gap where there was no night."""


def _memory() -> Tile:
    text = filled(_OVER_ROUNDS, column="rss_bytes")
    return Tile(
        banded("bytes", "least", "most").decimals(1),
        (Sql(text, Format.TIME_SERIES),),
        "Memory of the server, bytes",
        "Resident memory of its processes at the end of a cell: median, least and most of the rounds.",
        8,
    )


def _slope() -> Tile:
    text = filled(_OVER_ROUNDS, column="rss_slope_bytes_per_s")
    return Tile(
        banded("Bps", "least", "most"),
        (Sql(text, Format.TIME_SERIES),),
        "Slope of the server's memory, bytes/s",
        "How fast resident memory grew within a cell (Theil-Sen). Above zero in every round, every night: it leaks.",
        8,
    )


def _gpu(metric: str, over: str, unit: str, title: str, description: str) -> Tile:
    # A row without a value after each cell: the line must not join two cells.
    text = """
        WITH samples AS (
            SELECT
                gpus.cell_id, extract(epoch FROM gpus.at - runs.night) / 60 AS minute,
                {over}(gpus.value) AS value
            FROM gpu_facts AS gpus
            JOIN night_status AS runs ON runs.run_id = gpus.run_id
            JOIN case_facts ON case_facts.fingerprint = gpus.fingerprint
            WHERE gpus.run_id IN (${run:sqlstring}) AND case_facts.server IN (${server:sqlstring})
                AND case_facts.model IN (${model:sqlstring}) AND gpus.metric = {metric}
            GROUP BY gpus.cell_id, gpus.at, runs.night
        )
        SELECT minute::DOUBLE PRECISION AS minute, value FROM samples
        UNION ALL
        SELECT max(minute)::DOUBLE PRECISION + 0.001, NULL FROM samples GROUP BY cell_id
        ORDER BY minute"""
    panel = (
        trend.Panel()
        .unit(unit)
        .x_field("minute")
        .line_width(1)
        .fill_opacity(10)
        .span_nulls(False)
        .min(0)
        .show_points(kinds.VisibilityMode.NEVER)
        .legend(common.VizLegendOptions().show_legend(False).display_mode(kinds.LegendDisplayMode.LIST))
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.SINGLE))
        .no_value("no GPU was seen in this night")
    )
    with_column(panel, "minute", {"unit": "m", "custom.axisLabel": "minutes since the night began"})
    sql = Sql(filled(text, over=over, metric=f"'{metric}'"))
    return Tile(panel, (sql,), title, f"{description} All cells of this server and model, in their order.", 8)


def _start(column: str, title: str, description: str) -> Tile:
    text = """
        SELECT calendar.night AS "time", nights."value", nights."least", nights."most"
        FROM suite_calendar AS calendar
        LEFT JOIN (
            SELECT
                night, percentile_cont(0.5) WITHIN GROUP (ORDER BY {column}) AS "value",
                min({column}) AS "least", max({column}) AS "most"
            FROM deployment_facts
            WHERE {of_server} AND $__timeFilter(night)
            GROUP BY night
        ) AS nights ON nights.night = calendar.night
        WHERE calendar.suite IN (${suite:sqlstring}) AND calendar.hardware IN (${device:sqlstring})
            AND $__timeFilter(calendar.night)
        ORDER BY calendar.night"""
    return Tile(
        banded("ns", "least", "most"),
        (Sql(filled(text, column=column, of_server=_SERVER), Format.TIME_SERIES),),
        title,
        f"{description} Median, least and most of the night's starts.",
        7,
    )


def _starts() -> Tile:
    text = """
        SELECT
            started_at AS started, server_version AS version, launcher, format, precision,
            cold_start_ns AS "cold start", rss_bytes AS memory, failure_kind AS failed, failure AS detail,
            log_path AS log, log_tail AS "last words", run_id AS run
        FROM deployment_facts
        WHERE {of_server} AND run_id IN (${run:sqlstring})
        ORDER BY started_at"""
    panel = figures()
    with_column(panel, "cold start", {"unit": "ns", "decimals": 1})
    with_column(panel, "memory", {"unit": "bytes"})
    with_column(panel, "started", {"custom.width": 160})
    with_column(panel, "last words", {"custom.inspect": True})
    trust = to(RELIABILITY, "How far to trust it", {"suite": "${suite:percentencode}", "server": "${server}"})
    with_column(panel, "run", {"links": [trust, prefect_link()]})
    return Tile(
        panel,
        (Sql(filled(text, of_server=_SERVER)),),
        "Starts in the chosen night, s and bytes",
        "Each with its log: the path is below nightbench's home folder on the measuring machine; last words are kept"
        " for starts that failed.",
        10,
    )
