"""The page itself: one HTML file in the report's style. Great Expectations' own needs a CDN, and a night may have none.

It has no script at all; the report's style follows the reader's preference for light or dark by itself.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from dashboards.offline import policy, write_whole
from dashboards.report.doubts import title
from nightbench.night_frame import Row
from nightbench.quality import Quality
from nightbench.record import RunStarted

__all__ = ["REPORT", "render", "write"]

REPORT = "report.html"
"""Beside this page: rows link to their cells in it."""
_OWN = files("dashboards.quality") / "templates"
_STYLE = files("dashboards.report") / "templates" / "report.css"


def render(run: RunStarted, rows: Sequence[Row], quality: Sequence[Quality]) -> str:
    """The whole page. The page's own policy forbids loading anything."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["words"] = lambda name: name.replace("_", " ")
    environment.filters["title"] = title
    page: str = environment.from_string((_OWN / "quality.html.j2").read_text(encoding="utf-8")).render(
        run=run,
        rows=len(rows),
        measured=sum(row["record"] == "measured" for row in rows),
        missing=sum(row["record"] == "missing" for row in rows),
        lost=sum(row["record"] is None for row in rows),
        expectations=sum(len(each.evaluated) for each in quality),
        cells=len({finding.cell_key for each in quality for finding in each.findings}),
        # What left no record has no row in the report.
        in_report={row["cell_key"] for row in rows if row["record"] is not None},
        quality=quality,
        report=REPORT,
        style=_STYLE.read_text(encoding="utf-8"),
        policy=policy(()),
    )
    return page


def write(run: RunStarted, rows: Sequence[Row], quality: Sequence[Quality], path: Path) -> Path:
    """Write the page to ``path``, whole or not at all. Returns ``path``."""
    return write_whole(render(run, rows, quality), path)
