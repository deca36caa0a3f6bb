"""`nightbench arena`."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from dashboards.arena import tables
from dashboards.report.format import Shown
from flows.commands.common import records_of
from flows.console import open_console, table
from flows.registry import load_catalog
from nightbench.arena import Arena, Written
from nightbench.arena import arena as answers
from nightbench.arena_words import in_words
from nightbench.configuration import configuration_lines
from nightbench.errors import UsageError
from nightbench.model import ModelSpec
from nightbench.server import ServerSpec
from nightbench.settings import Settings
from nightbench.summary import summarise
from servers import arena as architectures

__all__ = ["arena"]

_FAMILY = "arena"
_THREADS = 2
"""Of the configuration that is counted; how many they are changes no line."""


def arena(run: str = "last", /, *, price_per_hour: float = 1.0, html: Path | None = None) -> None:
    """Answer the questions of Inference Arena from a run of suites/arena.yaml.

    Parameters
    ----------
    run
        A run's id, a unique beginning of it, or `last`.
    price_per_hour
        What the machine costs, in any currency; costs are in the same.
    html
        Where to write the page, beside what is printed.
    """
    settings, console = Settings.from_environment(), open_console()
    night = summarise(records_of(run, settings, console))
    catalog = load_catalog(settings)
    pipelines = {name: model for name, model in catalog.models.items() if model.family == _FAMILY}
    measured = next((cell.model for cell in night.cells if cell.model in pipelines), None)
    written = {} if measured is None else _written(pipelines[measured], catalog.servers)
    shared = _counted(architectures.shared_files())
    found = answers(night, pipelines, price_per_hour, written, shared)
    _print(console, night.run.run_id, found)
    if html is not None:
        if not all(find_spec(name) for name in ("plotly", "jinja2")):
            raise UsageError("arena: plotly and jinja2 are not installed; install nightbench with its pipeline extra")
        from dashboards.arena.page import write

        try:
            console.print(str(write(night, found, html)), soft_wrap=True)
        except OSError as error:
            raise UsageError(
                f"arena: {html} cannot be written: {error.strerror}; choose another with --html"
            ) from error


def _written(model: ModelSpec, servers: Mapping[str, ServerSpec]) -> dict[str, Sequence[Written]]:
    from servers.arena_triton.layout import models
    from servers.triton import SERVER as TRITON

    configs = {f"{each.name}/config.pbtxt": each.config for each in models(model, TRITON.resolve({}), threads=_THREADS)}
    return {
        name: _counted(architectures.written_files(spec, configs if name == "arena_triton" else {}))
        for name, spec in servers.items()
        if name in architectures.ARCHITECTURES
    }


def _counted(files: Mapping[str, str]) -> tuple[Written, ...]:
    return tuple(Written(name, configuration_lines(name, text)) for name, text in files.items())


def _print(console: Console, run_id: str, found: Arena) -> None:
    rows = [
        {"in flight": str(size), "architecture": row.architecture + " (doubted)" * row.doubted}
        | {name: _stacked(figure) for name, figure in zip(tables.COLUMNS, row.figures, strict=True)}
        for size, group in tables.loads(found).items()
        for row in group
    ]
    title = f"{found.model}, run {run_id}, figures with 95 % intervals; {found.price_per_hour:g} an hour"
    console.print(table(title, rows))
    deploying = [
        {
            "architecture": each.name,
            **dict(zip(("cold start", "model load", "RSS"), map(_stacked, tables.deploying(each)), strict=True)),
            "lines": str(each.lines or "-"),
            "written": tables.lines(each),
        }
        for each in found.architectures
    ]
    console.print(table("deploying", deploying))
    for sentence in in_words(found):
        console.print(sentence, markup=False, soft_wrap=True)


def _stacked(figure: Shown) -> str:
    value = " ".join(part for part in (figure.value, figure.unit) if part)
    return f"{value}\n{figure.interval}" if figure.interval else value
