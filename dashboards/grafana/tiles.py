"""Panels laid out in rows, and what holds for all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard, table

from dashboards.grafana.postgres import SOURCE, Sql, SqlQuery

__all__ = ["COLUMNS", "Heading", "Tile", "dressed", "place"]

COLUMNS = 24
"""Grafana's grid."""
_NO_THRESHOLDS = dashboard.ThresholdsConfig(
    mode=dashboard.ThresholdsMode.ABSOLUTE, steps=[dashboard.Threshold(value=None, color="text")]
)
"""One step that everything lies on. Without any Grafana adds its own, red above 80, whatever the unit."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One panel: what it shows, in which unit, and its size on the grid."""

    panel: Builder[dashboard.Panel]
    queries: tuple[Sql, ...]
    title: str
    """Ends with the unit, after a comma, wherever it shows numbers of one unit."""
    description: str
    width: int
    height: int = 8
    repeat: str | None = None
    """A variable; there is one such panel for each of its chosen values."""
    transformations: tuple[dashboard.DataTransformerConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class Heading:
    """What the rows below it are about."""

    title: str


def place(house: build.Dashboard, parts: Sequence[Tile | Heading]) -> build.Dashboard:
    """Put the parts on the dashboard from left to right and top to bottom, numbered in this order."""
    for number, part in enumerate(parts, start=1):
        if isinstance(part, Heading):
            house.with_row(build.Row(part.title).id(number))
        else:
            house.with_panel(_Done(dressed(part, number)))
    return house


def dressed(tile: Tile, number: int) -> dashboard.Panel:
    """The panel with all that every panel has: data source, queries, words, size, and no threshold of Grafana's."""
    panel = tile.panel.build()
    panel.id_val = number
    panel.title, panel.description = tile.title, tile.description
    panel.datasource = SOURCE
    panel.targets = [SqlQuery(sql, letter) for sql, letter in zip(tile.queries, _letters(), strict=False)]
    if isinstance(panel.options, table.Options):
        # The SDK writes one that Grafana draws nothing of, and newer ones do not know.
        panel.options.footer = None
    panel.grid_pos = dashboard.GridPos(h=tile.height, w=tile.width)
    if tile.transformations:
        panel.transformations = list(tile.transformations)
    if tile.repeat is not None:
        panel.repeat = tile.repeat
        panel.repeat_direction = "h"
        panel.max_per_row = COLUMNS / tile.width
    if panel.field_config is None:
        panel.field_config = dashboard.FieldConfigSource()
    defaults = panel.field_config.defaults
    defaults.thresholds = _NO_THRESHOLDS
    if defaults.color is None:
        defaults.color = dashboard.FieldColor(mode=dashboard.FieldColorModeId.PALETTE_CLASSIC)
    return panel


class _Done(Builder[dashboard.Panel]):
    """A panel that is built already, for a dashboard that takes builders only."""

    def __init__(self, panel: dashboard.Panel) -> None:
        self._panel = panel

    def build(self) -> dashboard.Panel:
        return self._panel


def _letters() -> Iterable[str]:
    return (chr(ord("A") + place) for place in range(26))
