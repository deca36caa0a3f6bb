"""The page itself: tables, plots and words put into one HTML file that needs nothing but a browser."""

import shlex
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dashboards.offline import as_script, embed, policy, write_whole
from dashboards.report import client, doubts, figures, findings, models, tables
from dashboards.report import format as fmt
from dashboards.report.plots.base import Plot
from dashboards.report.searches import searches
from dashboards.report.series import Looks
from dashboards.report.streams import bounds, streams
from dashboards.report.theme import swaps
from nightbench.figures import Reason
from nightbench.summary import NightSummary

__all__ = ["render", "write"]

_TEMPLATES = files("dashboards.report") / "templates"


_BESIDE = {"quality.html": "the quality gate", "drift.html": "how distributions drifted"}
"""Other pages of a run, by the names that they have in its folder."""


def render(night: NightSummary, beside: Mapping[str, str] = MappingProxyType({})) -> str:
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
        **_content(night),
        beside=list(beside.items()),
        style=_text("report.css"),
        scripts=scripts,
        policy=policy(scripts),
        theme=swaps(),
    )
    return page


def write(night: NightSummary, path: Path) -> Path:
    """Write the report to ``path``, whole or not at all, making its folder where needed. Returns ``path``.

    It links what lies beside it of the same run.
    """
    beside = {name: title for name, title in _BESIDE.items() if (path.parent / name).exists()}
    return write_whole(render(night, beside), path)


def _content(night: NightSummary) -> Mapping[str, Any]:
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
        "lasted": fmt.in_words((finished.finished_at - run.started_at).total_seconds() * 1e9) if finished else "",
        "cells": len(night.cells),
        "doubted": night.doubted_cells,
        "missing": night.missing_cells,
        "unrecorded": max(0, run.planned_cells - sum(len(c.measurements) + len(c.missing) for c in night.cells)),
        "measured": len(night.cells) - night.missing_cells,
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
        "deployments": tables.deployments(night, looks),
        "artifacts": models.artifacts(night.artifacts),
        "parity": models.parity(night.parity),
        "wire": models.wire(night.wire_parity),
        "doubts": [(doubts.title(reason), doubts.explain(reason)) for reason in _reasons(night)],
        "spent": tables.spent(finished.spent_ns) if finished else [],
        "command": f"nightbench run {shlex.quote(run.suite)} --seed {run.seed}",
    }


def _reasons(night: NightSummary) -> list[Reason]:
    occurring = {doubt.reason for cell in night.cells for doubt in cell.doubts}
    return [reason for reason in Reason if reason in occurring]


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")
