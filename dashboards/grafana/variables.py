"""What a reader chooses from, and how that stands in SQL.

Every reference is written ``${name:sqlstring}``: Grafana then quotes and escapes each value itself, one or many.
"""

from textwrap import dedent

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard

from dashboards.grafana.postgres import SOURCE, filled
from nightbench.judge.series import Metric

__all__ = [
    "METRICS",
    "canary",
    "device",
    "fingerprint",
    "metric",
    "model",
    "models",
    "night",
    "prefect",
    "price",
    "server",
    "servers",
    "suite",
]

METRICS = {
    Metric.THROUGHPUT_RPS: "Throughput, requests/s",
    Metric.LATENCY_P50_NS: "Latency p50, ms",
    Metric.LATENCY_P99_NS: "Latency p99, ms",
    Metric.ANSWER_RPS: "Found by search, requests/s",
    Metric.TOKENS_PER_S: "Throughput, tokens/s",
    Metric.TTFT_P50_NS: "Time to first token p50, ms",
    Metric.ITL_P50_NS: "Time between tokens p50, ms",
}
"""Each judged figure as a title, with its unit."""


def suite() -> build.QueryVariable:
    return _query("suite", "Suite", "SELECT DISTINCT suite FROM night_status ORDER BY 1")


def device() -> build.QueryVariable:
    text = "SELECT DISTINCT hardware FROM night_status WHERE suite IN (${suite:sqlstring}) ORDER BY 1"
    return _several(_query("device", "Device", text))


def servers() -> build.QueryVariable:
    return _several(_query("server", "Server", filled(_OF_DEVICE, column="server") + " ORDER BY 1"))


def server() -> build.QueryVariable:
    return _query("server", "Server", filled(_OF_DEVICE, column="server") + " ORDER BY 1")


def models() -> build.QueryVariable:
    return _several(_query("model", "Model", filled(_OF_SERVER, column="model") + " ORDER BY 1"))


def model() -> build.QueryVariable:
    return _query("model", "Model", filled(_OF_SERVER, column="model") + " ORDER BY 1")


def fingerprint(*, several: bool) -> build.QueryVariable:
    """Series by their words. Not all at once: there may be thousands."""
    text = """
        SELECT label AS __text, fingerprint AS __value FROM series_facts
        WHERE suite IN (${suite:sqlstring}) AND hardware IN (${device:sqlstring})
            AND server IN (${server:sqlstring}) AND model IN (${model:sqlstring})
        ORDER BY 1"""
    return _query("fingerprint", "Series", text).multi(several)


def metric() -> build.CustomVariable:
    options = [dashboard.VariableOption(text=text, value=each.value) for each, text in METRICS.items()]
    options[0].selected = True
    return (
        build.CustomVariable("metric")
        .label("Figure")
        # A comma ends an option unless it is escaped.
        .values(", ".join(f"{text.replace(',', chr(92) + ',')} : {each.value}" for each, text in METRICS.items()))
        .options(options)
        .current(options[0])
    )


def night() -> build.QueryVariable:
    """One night, the newest first; ``run`` because its value is a run's id."""
    text = """
        SELECT to_char(night AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC · ' || run_id AS __text,
            run_id AS __value
        FROM night_status
        WHERE suite IN (${suite:sqlstring}) AND hardware IN (${device:sqlstring})
        ORDER BY night DESC
        LIMIT 400"""
    return _query("run", "Night", text)


def canary() -> build.QueryVariable:
    text = """
        SELECT DISTINCT canary FROM canary_nights
        WHERE suite IN (${suite:sqlstring}) AND hardware IN (${device:sqlstring})
        ORDER BY 1"""
    return _several(_query("canary", "Canary", text))


def price() -> build.TextBoxVariable:
    one = dashboard.VariableOption(text="1", value="1")
    return (
        build.TextBoxVariable("price")
        .label("Price of a machine-hour")
        .description("What one hour of this device costs, in any currency: costs are shown in it.")
        .default_value("1")
        .current(one)
        .options([one])
    )


def prefect() -> build.TextBoxVariable:
    """Where the runs are shown; hidden, for links only."""
    here = dashboard.VariableOption(text="http://127.0.0.1:4200", value="http://127.0.0.1:4200")
    return (
        build.TextBoxVariable("prefect")
        .label("Prefect")
        .description("Base address of Prefect's pages, for links.")
        .default_value("http://127.0.0.1:4200")
        .current(here)
        .options([here])
    )


_OF_DEVICE = """
    SELECT DISTINCT {column} FROM series_facts
    WHERE suite IN (${suite:sqlstring}) AND hardware IN (${device:sqlstring})"""
_OF_SERVER = _OF_DEVICE + " AND server IN (${server:sqlstring})"


def _query(name: str, label: str, text: str) -> build.QueryVariable:
    return (
        build.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(dedent(text).strip())
        .refresh(dashboard.VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(dashboard.VariableSort.DISABLED)
        .allow_custom_value(False)
    )


def _several(variable: build.QueryVariable) -> build.QueryVariable:
    everything = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    return variable.multi(True).include_all(True).current(everything)
