"""`nightbench arena`."""

from collections.abc import Callable, Mapping, Sequence
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
from nightbench.summary import CellSummary, summarise
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
    written = _written(pipelines, catalog.servers)
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


def _written(
    pipelines: Mapping[str, ModelSpec], servers: Mapping[str, ServerSpec]
) -> Callable[[CellSummary], Sequence[Written]]:
    """What is written for a setup, with the options that it was measured with."""
    from servers.arena_triton.layout import models, triton_options

    def written(cell: CellSummary) -> Sequence[Written]:
        if cell.server not in architectures.ARCHITECTURES:
            return ()
        spec = servers[cell.server]
        laid = (
            models(pipelines[cell.model], triton_options(spec.resolve(cell.options)), threads=_THREADS)
            if cell.server == "arena_triton"
            else ()
        )
        return _counted(architectures.written_files(spec, {f"{each.name}/config.pbtxt": each.config for each in laid}))

    return written


def _counted(files: Mapping[str, str]) -> tuple[Written, ...]:
    return tuple(Written(name, configuration_lines(name, text)) for name, text in files.items())


def _print(console: Console, run_id: str, found: Arena) -> None:
    rows = [
        {"in flight": str(size), "architecture": row.architecture + " (doubted)" * row.doubted}
        | {
            name: _stacked(figure) + "\n(doubted)" * (doubted and not row.doubted)
            for name, figure, doubted in zip(tables.COLUMNS, row.figures, row.doubts, strict=True)
        }
        for size, group in tables.loads(found).items()
        for row in group
    ]
    title = f"{found.model}, run {run_id}, figures with 95 % intervals; {found.price_per_hour:g} an hour"
    console.print(table(title, rows))
    deploying = [
        {
            "architecture": each.name,
            "starts": tables.starts(each),
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
