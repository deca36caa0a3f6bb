"""What every dashboard has: its address, its links, its choices."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from dashboards.grafana.links import TAG, top

__all__ = ["new"]


def new(
    uid: str, title: str, description: str, choices: Sequence[Builder[dashboard.VariableModel]], *, since: str
) -> build.Dashboard:
    """An empty dashboard that shows the time from ``since`` until now."""
    return (
        build.Dashboard(f"nightbench · {title}")
        .uid(uid)
        .description(description)
        .tags([TAG])
        .timezone("browser")
        .time(since, "now")
        .refresh("")
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .variables([_Plain(choice) for choice in choices])
        .annotations([])
        .link(top())
    )


class _Plain(Builder[dashboard.VariableModel]):
    """A variable without what the SDK sets for variables of intervals alone."""

    def __init__(self, choice: Builder[dashboard.VariableModel]) -> None:
        self._choice = choice

    def build(self) -> dashboard.VariableModel:
        model = self._choice.build()
        model.auto = model.auto_min = model.auto_count = None
        return model
