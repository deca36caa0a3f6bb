"""Ways from one dashboard to the next, to a run in Prefect and to its logs."""

from collections.abc import Mapping
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard

from nightbench.judge.message import DASHBOARD as SERIES

__all__ = ["COMPARE", "MORNING", "RELIABILITY", "SERIES", "SERVER", "TAG", "TRENDS", "prefect_link", "to", "top"]

TAG = "nightbench"
MORNING, TRENDS, COMPARE = "nightbench-morning", "nightbench-trends", "nightbench-compare"
SERVER, RELIABILITY = "nightbench-server", "nightbench-reliability"


def top() -> build.DashboardLink:
    """The other dashboards, at the top of each, with what is chosen taken along."""
    return (
        build.DashboardLink("nightbench")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .icon("external link")
        .tooltip("The other dashboards of nightbench, with the same choices and nights")
        .url("")
        .tags([TAG])
        .as_dropdown(False)
        .target_blank(False)
        .include_vars(True)
        .keep_time(True)
    )


def to(uid: str, title: str, choices: Mapping[str, str], *, keep_time: bool = True) -> dict[str, object]:
    """A link of a cell or point to another dashboard; ``choices`` are its variables, in Grafana's own words."""
    chosen = [f"var-{name}={value}" for name, value in choices.items()]
    if keep_time:
        chosen.append("${__url_time_range}")
    return {"title": title, "url": f"/d/{quote(uid)}/?{'&'.join(chosen)}", "targetBlank": False}


def field(column: str) -> str:
    """The value that the same row has in ``column``, fit for an address."""
    return f'${{__data.fields["{column}"]:percentencode}}'


def prefect_link() -> dict[str, object]:
    """Prefect names a night's flow run by its suite; its page lists them by time."""
    url = "${prefect:raw}/runs?flow-run-search=${suite:percentencode}"
    return {"title": "Runs of this suite in Prefect", "url": url, "targetBlank": True}
