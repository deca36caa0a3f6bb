"""The page itself: one HTML file in the report's style, with its script and colours."""

from importlib.resources import files
from pathlib import Path

from dashboards.arena import tables
from dashboards.arena.plots import drawn
from dashboards.offline import as_script, embed, policy, write_whole
from dashboards.report.theme import swaps
from nightbench.arena import Arena, Metric
from nightbench.arena_words import in_words
from nightbench.summary import NightSummary

__all__ = ["render", "write"]

_OWN = files("dashboards.arena") / "templates"
_REPORT = files("dashboards.report") / "templates"


def render(night: NightSummary, found: Arena) -> str:
    """The whole page. Scripts and styles are inline, and the page's own policy forbids loading any other."""
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["embed"] = embed
    scripts = (as_script(get_plotlyjs()), as_script((_REPORT / "report.js").read_text(encoding="utf-8")))
    picture = drawn(night, found)
    page: str = environment.from_string((_OWN / "arena.html.j2").read_text(encoding="utf-8")).render(
        run=night.run,
        found=found,
        said=in_words(found),
        columns=list(tables.COLUMNS),
        loads=tables.loads(found),
        metrics=[metric.value for metric in Metric],
        standings=tables.standings(found),
        deploying={each.name: tables.deploying(each) for each in found.architectures},
        starts={each.name: tables.starts(each) for each in found.architectures},
        plots=picture.plots,
        looks=picture.looks.legend,
        colours={look.colour: swaps()[look.colour] for look in picture.looks.legend},
        theme=swaps(),
        style=(_REPORT / "report.css").read_text(encoding="utf-8"),
        scripts=scripts,
        policy=policy(scripts),
    )
    return page


def write(night: NightSummary, found: Arena, path: Path) -> Path:
    """Write the page to ``path``, whole or not at all. Returns ``path``."""
    return write_whole(render(night, found), path)
