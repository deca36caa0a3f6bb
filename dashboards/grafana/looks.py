"""How each kind of panel looks here: the few choices that differ from Grafana's own."""

from collections.abc import Mapping, Sequence
from typing import Any

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    heatmap,
    stat,
    statetimeline,
    table,
    timeseries,
    xychart,
)
from grafana_foundation_sdk.builders import (
    dashboard as build,
)
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models import xychart as xy

__all__ = [
    "banded",
    "bars",
    "cloud",
    "doubtful",
    "figures",
    "heat_map",
    "lines",
    "nightly_bars",
    "numbers",
    "ranking",
    "states",
    "with_column",
]

_LOW, _HIGH, _DOUBTED = "95 % low", "95 % high", "doubted"
_DOUBTED_COLOUR = "orange"
_BAND_COLOUR = "blue"
_BAND_OPACITY = 18


def lines(unit: str | None) -> timeseries.Panel:
    """One point a night, joined only where nothing lies between: a night without a figure is a gap. ``unit`` is
    ``None`` where the data tell it."""
    panel = timeseries.Panel() if unit is None else timeseries.Panel().unit(unit)
    return (
        panel.draw_style(kinds.GraphDrawStyle.LINE)
        .line_width(1)
        .show_points(kinds.VisibilityMode.ALWAYS)
        .point_size(5)
        .span_nulls(False)
        .insert_nulls(False)
        .thresholds_style(common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.OFF))
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.NONE))
    )


def doubtful(unit: str | None) -> timeseries.Panel:
    """A line ``value`` in the band of its 95 % interval; points of the field ``doubted`` stand apart, off the line."""
    panel = banded(unit, _LOW, _HIGH)
    look = {"custom.drawStyle": "points", "custom.pointSize": 9, "custom.showPoints": "always"}
    with_column(panel, _DOUBTED, look | {"color": _fixed(_DOUBTED_COLOUR)})
    return panel


def banded(unit: str | None, low: str, high: str) -> timeseries.Panel:
    """A line ``value`` in the band between two other fields."""
    edge = {"custom.lineWidth": 0, "custom.showPoints": "never"}
    panel = lines(unit)
    with_column(panel, "value", {"color": _fixed(_BAND_COLOUR), "custom.lineWidth": 2})
    with_column(panel, low, edge | {"color": _fixed(_BAND_COLOUR), "custom.hideFrom": _hidden_in_legend()})
    with_column(
        panel,
        high,
        edge
        | {
            "color": _fixed(_BAND_COLOUR),
            "custom.hideFrom": _hidden_in_legend(),
            "custom.fillBelowTo": low,
            "custom.fillOpacity": _BAND_OPACITY,
        },
    )
    return panel


def nightly_bars(unit: str) -> timeseries.Panel:
    """Counts or parts of each night, one upon the other."""
    return (
        lines(unit)
        .draw_style(kinds.GraphDrawStyle.BARS)
        .show_points(kinds.VisibilityMode.NEVER)
        .fill_opacity(70)
        .stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
        .min(0)
    )


def figures() -> table.Panel:
    """Rows to read, in the order of their query; what is long can be inspected."""
    return (
        table.Panel()
        .show_header(True)
        .cell_height(kinds.TableCellHeight.SM)
        .filterable(True)
        .inspect(True)
        .min_width(70)
        .color_scheme(build.FieldColor().mode(dashboard.FieldColorModeId.FIXED).fixed_color("text"))
    )


def numbers(unit: str = "none") -> stat.Panel:
    """A few large numbers side by side. Their colour says nothing: what is bad is said by a verdict, not by Grafana."""
    return (
        stat.Panel()
        .unit(unit)
        .color_scheme(build.FieldColor().mode(dashboard.FieldColorModeId.FIXED).fixed_color("text"))
        .color_mode(kinds.BigValueColorMode.NONE)
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .text_mode(kinds.BigValueTextMode.VALUE_AND_NAME)
        .justify_mode(kinds.BigValueJustifyMode.CENTER)
        .orientation(kinds.VizOrientation.VERTICAL)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
    )


def ranking(unit: str, column: str) -> bargauge.Panel:
    """A bar a row for the numbers in ``column``, named by the text of the same row."""
    return (
        bargauge.Panel()
        .unit(unit)
        .color_scheme(build.FieldColor().mode(dashboard.FieldColorModeId.FIXED).fixed_color("blue"))
        .orientation(kinds.VizOrientation.HORIZONTAL)
        .display_mode(kinds.BarGaugeDisplayMode.BASIC)
        .value_mode(kinds.BarGaugeValueMode.TEXT)
        .name_placement(kinds.BarGaugeNamePlacement.LEFT)
        .show_unfilled(False)
        .sizing(kinds.BarGaugeSizing.MANUAL)
        .min_viz_height(14)
        .max_viz_height(26)
        .text(common.VizTextDisplayOptions().title_size(12).value_size(13))
        .reduce_options(common.ReduceDataOptions().values(True).calcs([]).fields(f"/^{column}$/"))
        .min(0)
    )


def bars(unit: str, category: str) -> barchart.Panel:
    """A bar for each number of a row, side by side, along the column ``category``."""
    return (
        barchart.Panel()
        .unit(unit)
        .x_field(category)
        .orientation(kinds.VizOrientation.VERTICAL)
        .stacking(kinds.StackingMode.NONE)
        .show_value(kinds.VisibilityMode.NEVER)
        .bar_width(0.9)
        .group_width(0.8)
        .line_width(1)
        .fill_opacity(70)
        .min(0)
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.NONE))
    )


def cloud(x: str, groups: Mapping[str, str], *, x_unit: str, y_unit: str, y_label: str) -> xychart.Panel:
    """Points of the columns named by ``groups`` (with their colours) over the column ``x``."""
    panel = (
        xychart.Panel()
        .mapping(xy.SeriesMapping.MANUAL)
        .show(xy.XYShowMode.POINTS)
        .point_size(xychart.XychartFieldConfigPointSize().fixed(9))
        .fill_opacity(60)
        .unit(y_unit)
        .axis_label(y_label)
        .series([_points(x, column) for column in groups])
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.SINGLE).sort(kinds.SortOrder.NONE))
    )
    with_column(panel, x, {"unit": x_unit, "custom.axisLabel": x})
    for column, colour in groups.items():
        with_column(panel, column, {"color": _fixed(colour)})
    return panel


def heat_map(unit: str) -> heatmap.Panel:
    """Columns are buckets named by their upper bound, rows are nights; the colour is a logarithm's."""
    scale = heatmap.HeatmapColorOptions().mode(heat.HeatmapColorMode.SCHEME).scheme("Blues").steps(32).reverse(False)
    return (
        heatmap.Panel()
        .calculate(False)
        .color(scale.scale(heat.HeatmapColorScale.EXPONENTIAL).exponent(0.35).fill("blue"))
        .rows_frame(heatmap.RowsHeatmapOptions().layout(kinds.HeatmapCellLayout.LE).value("requests"))
        .cell_values(heatmap.CellValues().unit(unit))
        .y_axis(heatmap.YAxisConfig().axis_placement(kinds.AxisPlacement.LEFT).reverse(False))
        .cell_gap(1)
        .show_value(kinds.VisibilityMode.NEVER)
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .show_legend()
        .mode(kinds.TooltipDisplayMode.SINGLE)
        .hide_y_histogram()
        .show_color_scale(True)
    )


def states() -> statetimeline.Panel:
    """Which of several words held when."""
    return (
        statetimeline.Panel()
        .merge_values(True)
        .show_value(kinds.VisibilityMode.AUTO)
        .align_value(kinds.TimelineValueAlignment.LEFT)
        .row_height(0.8)
        .fill_opacity(40)
        .line_width(1)
        .color_scheme(build.FieldColor().mode(dashboard.FieldColorModeId.FIXED).fixed_color("blue"))
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.SINGLE).sort(kinds.SortOrder.NONE))
    )


def with_column(panel: Any, name: str, changes: Mapping[str, object]) -> None:
    """What differs for the column ``name``: field options by the names of Grafana's overrides."""
    panel.override_by_name(name, [dashboard.DynamicConfigValue(key, value) for key, value in changes.items()])


def _points(x: str, y: str) -> xychart.XYSeriesConfig:
    def by_name(column: str) -> xychart.MatcherConfig:
        return xychart.MatcherConfig().id("byName").options(column)

    return (
        xychart.XYSeriesConfig()
        .name(xychart.XychartXYSeriesConfigName().fixed(y))
        .frame(xychart.XychartXYSeriesConfigFrame().matcher(xychart.MatcherConfig().id("byIndex").options(0)))
        .x(xychart.XychartXYSeriesConfigX().matcher(by_name(x)))
        .y(xychart.XychartXYSeriesConfigY().matcher(by_name(y)))
    )


def _legend(calcs: Sequence[str] = ()) -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(kinds.LegendDisplayMode.LIST)
        .placement(kinds.LegendPlacement.BOTTOM)
        .calcs(list(calcs))
    )


def _fixed(colour: str) -> dict[str, str]:
    return {"mode": "fixed", "fixedColor": colour}


def _hidden_in_legend() -> dict[str, bool]:
    return {"legend": True, "tooltip": False, "viz": False}
