"""Servers beside each other in one night: speed, latency, batch size, money and energy."""

from grafana_foundation_sdk.builders import dashboard as build

from dashboards.grafana import variables
from dashboards.grafana.house import new
from dashboards.grafana.links import COMPARE, SERIES, field, to
from dashboards.grafana.looks import bars, cloud, figures, ranking, with_column
from dashboards.grafana.postgres import Sql, filled
from dashboards.grafana.tiles import Tile, place

__all__ = ["compare"]

_BATCHES = (1, 2, 4, 8, 16, 32, 64)

# Figures over the rounds with their intervals are the judged ones. Under an open loop throughput is what was sent, so
# such series have none and are not here. GPUs that did nothing do not share the work; without any it is the machine's.
# How many there were may be unknown, and then so is what each of them did.
_SERIES = """
WITH judged AS (
    SELECT
        fingerprint, label, server, model, batch, bool_or(doubted) AS doubted,
        max(value * batch) FILTER (WHERE metric = 'throughput_rps') AS per_s,
        max(low * batch) FILTER (WHERE metric = 'throughput_rps') AS per_s_low,
        max(high * batch) FILTER (WHERE metric = 'throughput_rps') AS per_s_high,
        max(value) FILTER (WHERE metric = 'latency_p50_ns') AS p50_ns,
        max(value) FILTER (WHERE metric = 'latency_p99_ns') AS p99_ns
    FROM series_trend
    WHERE run_id IN (${run:sqlstring}) AND hardware IN (${device:sqlstring}) AND server IN (${server:sqlstring})
        AND model IN (${model:sqlstring})
    GROUP BY fingerprint, label, server, model, batch
), series AS (
    SELECT
        judged.*, nights.gpus, nights.joules_per_inference AS joules, per_s / shared.among AS per_gpu,
        per_s_low / shared.among AS per_gpu_low, per_s_high / shared.among AS per_gpu_high
    FROM judged
    LEFT JOIN series_nights AS nights ON nights.fingerprint = judged.fingerprint AND nights.run_id IN (${run:sqlstring})
    CROSS JOIN LATERAL (SELECT CASE nights.gpus WHEN 0 THEN 1 ELSE nights.gpus END AS among) AS shared
    WHERE per_s > 0
)"""
_COST = "(${price:sqlstring})::DOUBLE PRECISION / 3600 * 1e6"
"""Of a second, a million times: divided by inferences a second it is what a million of them cost."""


def compare() -> build.Dashboard:
    house = new(
        COMPARE,
        "Compare",
        "Servers side by side in one night. Every figure is of the same machine, model and way of measuring.",
        [
            variables.suite(),
            variables.device(),
            variables.night(),
            variables.servers(),
            variables.models(),
            variables.price(),
        ],
        since="now-30d",
    )
    return place(house, [_pareto(), _batches(), _cost(), _energy(), _table()])


def _pareto() -> Tile:
    text = """{series}
SELECT
    p99_ns AS "latency p99",
    CASE WHEN NOT doubted AND NOT beaten THEN per_gpu END AS "on the frontier",
    CASE WHEN NOT doubted AND beaten THEN per_gpu END AS "beaten",
    CASE WHEN doubted THEN per_gpu END AS "doubted",
    label AS series, server, model
FROM series
CROSS JOIN LATERAL (SELECT EXISTS (
    SELECT FROM series AS other
    WHERE other.model = series.model AND NOT other.doubted AND other.per_gpu >= series.per_gpu
        AND other.p99_ns <= series.p99_ns AND (other.per_gpu > series.per_gpu OR other.p99_ns < series.p99_ns)
) AS beaten) AS frontier
WHERE p99_ns IS NOT NULL AND per_gpu IS NOT NULL
ORDER BY p99_ns"""
    panel = cloud(
        "latency p99",
        {"on the frontier": "blue", "beaten": "text", "doubted": "orange"},
        x_unit="ns",
        y_unit="none",
        y_label="inferences/s per GPU",
    )
    return Tile(
        panel,
        (Sql(filled(text, series=_SERIES)),),
        "Throughput per GPU against latency p99, inferences/s",
        "One point a series of this night. On the frontier: no other of the same model is both faster and sooner"
        " (Pareto). Left and up is better. Where no GPU worked: throughput of the machine. Where nobody saw how many"
        " did: no point.",
        14,
        11,
    )


def _batches() -> Tile:
    columns = ", ".join(f'max(per_gpu) FILTER (WHERE batch = {size}) AS "batch {size}"' for size in _BATCHES)
    text = """{series}
SELECT server || ' · ' || model AS server, {columns}
FROM series
WHERE NOT doubted AND per_gpu IS NOT NULL
GROUP BY server, model
ORDER BY max(per_gpu) DESC
LIMIT 12"""
    return Tile(
        bars("none", "server"),
        (Sql(filled(text, series=_SERIES, columns=columns)),),
        "What batch size does to throughput per GPU, inferences/s",
        "The best of each batch size over the loads measured with it; intervals are in the table below. The twelve"
        " fastest, doubted series left out.",
        10,
        11,
    )


def _cost() -> Tile:
    text = """{series}
SELECT label AS series, {cost} / per_s AS "cost per million"
FROM series
WHERE NOT doubted
ORDER BY 2
LIMIT 15"""
    panel = ranking("none", "cost per million").decimals(3)
    return Tile(
        panel,
        (Sql(filled(text, series=_SERIES, cost=_COST)),),
        "Cost per million inferences, in the currency of the price",
        "Price of a machine-hour over inferences an hour, the machine kept busy throughout. The fifteen cheapest;"
        " bounds are in the table.",
        12,
        11,
    )


def _energy() -> Tile:
    text = """{series}
SELECT label AS series, joules AS "energy per inference"
FROM series
WHERE NOT doubted AND joules IS NOT NULL
ORDER BY 2
LIMIT 15"""
    panel = ranking("joule", "energy per inference").no_value("no GPU with a counter of its energy in this night")
    return Tile(
        panel,
        (Sql(filled(text, series=_SERIES)),),
        "Energy per inference, J",
        "From each GPU's own counter over the measured window, of the GPUs that worked, median of the rounds. The"
        " fifteen least.",
        12,
        11,
    )


def _table() -> Tile:
    text = """{series}
SELECT
    label AS series, per_gpu AS "per GPU", per_gpu_low AS "per GPU low", per_gpu_high AS "per GPU high", gpus,
    p50_ns AS "p50", p99_ns AS "p99", {cost} / per_s AS "cost", {cost} / per_s_high AS "cost low",
    {cost} / nullif(per_s_low, 0) AS "cost high", joules AS "energy", CASE WHEN doubted THEN 'doubted' END AS doubt,
    fingerprint
FROM series
ORDER BY per_gpu DESC NULLS LAST, per_s DESC
LIMIT 500"""
    panel = figures()
    here = to(SERIES, "This series", {"suite": "${suite:percentencode}", "fingerprint": field("fingerprint")})
    with_column(panel, "series", {"links": [here], "custom.width": 380})
    for column in ("per GPU", "per GPU low", "per GPU high"):
        with_column(panel, column, {"decimals": 1})
    for column in ("p50", "p99"):
        with_column(panel, column, {"unit": "ns", "decimals": 2})
    for column in ("cost", "cost low", "cost high"):
        with_column(panel, column, {"decimals": 4})
    with_column(panel, "energy", {"unit": "joule", "decimals": 3})
    with_column(panel, "fingerprint", {"custom.hidden": True})
    return Tile(
        panel,
        (Sql(filled(text, series=_SERIES, cost=_COST)),),
        "All figures of the night, inferences/s, ms, cost per million, J",
        "With the bounds of their 95 % intervals. A low cost belongs to the high bound of throughput. GPUs are those"
        " that worked; where nobody saw how many did, there is no figure per GPU.",
        24,
        11,
    )
