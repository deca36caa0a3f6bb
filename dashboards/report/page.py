"""The page itself: tables, plots and words put into one HTML file that needs nothing but a browser."""

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dashboards.offline import as_script, embed, policy, write_whole
from dashboards.report import client, doubts, figures, findings, models, pareto, tables
from dashboards.report import format as fmt
from dashboards.report.advice import Advice, advice
from dashboards.report.batches import batches
from dashboards.report.plots.base import Plot
from dashboards.report.provenance import provenance
from dashboards.report.searches import searches
from dashboards.report.series import Looks, launched
from dashboards.report.servers import inside, servers
from dashboards.report.streams import bounds, streams
from dashboards.report.theme import swaps
from dashboards.report.told import Told
from dashboards.report.verdicts import verdicts
from nightbench.summary import NightSummary

__all__ = ["render", "write"]

_TEMPLATES = files("dashboards.report") / "templates"


_NOTHING = Told()
_BESIDE = {"quality.html": "the quality gate", "drift.html": "how distributions drifted"}
"""Other pages of a run, by the names that they have in its folder."""


def render(night: NightSummary, beside: Mapping[str, str] = MappingProxyType({}), told: Told = _NOTHING) -> str:
    """The whole report. Scripts and styles are inline, and the page's own policy forbids loading any other.

    ``beside`` are the titles of pages that lie in the same folder, by file name: the report links them.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(_text),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embed"] = lambda value: embed(value.figure if isinstance(value, Plot) else dict(value))
    scripts = (as_script(get_plotlyjs()), as_script(_text("report.js")))
    page: str = environment.get_template("report.html.j2").render(
        **_content(night, told),
        beside=list(beside.items()),
        style=_text("report.css"),
        scripts=scripts,
        policy=policy(scripts),
        theme=swaps(),
    )
    return page


def write(night: NightSummary, path: Path, told: Told = _NOTHING) -> Path:
    """Write the report to ``path``, whole or not at all, making its folder where needed. Returns ``path``.

    It links what lies beside it of the same run.
    """
    beside = {name: title for name, title in _BESIDE.items() if (path.parent / name).exists()}
    return write_whole(render(night, beside, told), path)


def _content(night: NightSummary, told: Told) -> Mapping[str, Any]:
    """Everything the template prints."""
    looks = Looks(night)
    found = findings.contests(night, looks)
    run, finished = night.run, night.finished
    return {
        "run": run,
        "status": finished.status if finished else "unfinished",
        "status_detail": finished.detail
        if finished
        else "The run left no closing record: it was ended, or still goes on.",
        "lasted": fmt.in_words(finished.took_ns) if finished else "",
        "cells": len(night.cells),
        "doubted": night.doubted_cells,
        "missing": night.missing_cells,
        "unrecorded": max(0, run.planned_cells - sum(len(c.measurements) + len(c.missing) for c in night.cells)),
        "measured": len(night.cells) - night.missing_cells,
        "launched": launched(night),
        "verdicts": verdicts(night, told),
        "advice": _by_model(advice(night, looks)),
        "servers": servers(night, told.starts, looks),
        "inside": inside(night, looks),
        "fronts": [row for quantile in ("p50", "p99") for row in pareto.rows(night, looks, quantile)],
        "batches": batches(night, looks),
        "batch_plots": figures.batches(night, looks),
        "headline": findings.in_words(found),
        "contests": found,
        "troubles": findings.troubles(night),
        "looks": looks.legend,
        "colours": {look.colour: swaps()[look.colour] for look in looks.legend},
        "groups": tables.results(night, looks),
        "searches": searches(night, looks),
        "search_plots": figures.searches(night, looks),
        "streams": streams(night, looks),
        "stream_bounds": bounds(night),
        "sections": figures.sections(night, looks),
        "client": client.calibrations(night.calibrations),
        "deployments": tables.deployments(night, looks, told.starts),
        "artifacts": models.artifacts(night.artifacts),
        "parity": models.parity(night.parity),
        "wire": models.wire(night.wire_parity),
        "doubts": doubts.doubted(night, _names(night, looks)),
        "spent": tables.spent(finished.spent_ns) if finished else [],
        "provenance": provenance(night, told),
    }


def _names(night: NightSummary, looks: Looks) -> dict[str, str]:
    return {
        cell.cell_key: f"{looks.of(cell).label}, {cell.model}, {cell.load.label}, batch {cell.batch}"
        for cell in night.cells
    }


def _by_model(found: Iterable[Advice]) -> dict[str, list[Advice]]:
    groups: dict[str, list[Advice]] = {}
    for each in found:
        groups.setdefault(each.model, []).append(each)
    return groups


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")
