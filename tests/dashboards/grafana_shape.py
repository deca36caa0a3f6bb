"""What each type of panel needs to draw, held against the data frames that it gets."""

from itertools import pairwise

from dashboards.grafana.expand import Panel
from tests.dashboards.grafana_frames import Field, Frame

__all__ = ["column", "misfits"]


def column(frame: Frame, name: str) -> Field:
    """The field that the reader sees under this name; `KeyError` if there is none."""
    for each in frame.fields:
        if each.shown == name:
            return each
    raise KeyError(name)


def misfits(panel: Panel, frames: list[Frame]) -> list[str]:
    """Why the panel could not draw ``frames`` as it is meant to, in words; empty where it can."""
    frame, *others = frames
    try:
        found = _of_type(panel, frame)
    except KeyError as missing:
        found = [f"has no column {missing}"]
    names = {each.shown for each in frame.fields}
    # A series without a row has no column either, and needs no override.
    wanted = {override["matcher"]["options"] for override in panel.json["fieldConfig"]["overrides"]}
    if frame.length and (strangers := wanted - names):
        found.append(f"an override of columns that are not there: {sorted(strangers)}")
    found += [f"query {other.letter}: {len(other.fields)} columns" for other in others if not _is_unit(other)]
    return found


def _is_unit(frame: Frame) -> bool:
    """A second query gives the unit of the first one's figures."""
    return [each.type for each in frame.fields] == ["string"] and frame.length == 1


def _of_type(panel: Panel, frame: Frame) -> list[str]:
    types = [each.type for each in frame.fields]
    options = panel.json["options"]
    match panel.type:
        case "timeseries" | "heatmap":
            # Without rows there are no series, and so no columns of theirs.
            fits = types[0] == "time" and set(types[1:]) <= {"number"} and (len(types) > 1 or not frame.length)
        case "state-timeline":
            fits = types[0] == "time" and "string" in types
        case "trend":
            x = column(frame, options["xField"])
            fits = x.type == "number" and all(first <= second for first, second in pairwise(x.values))
        case "barchart":
            fits = column(frame, options["xField"]).type == "string" and "number" in types
        case "bargauge":
            shown = options["reduceOptions"]["fields"].strip("/^$")
            fits = column(frame, shown).type == "number" and types.count("string") == 1
        case "xychart":
            axes = (series[axis]["matcher"]["options"] for series in options["series"] for axis in "xy")
            fits = {column(frame, axis).type for axis in axes} == {"number"}
        case "stat":
            fits = set(types) == {"number"} and frame.length == 1
        case _:
            fits = True
    return [] if fits else [f"a {panel.type} cannot draw {types}, {frame.length} rows"]
