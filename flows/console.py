"""The terminal: a progress bar while a night runs, and its results when it is over."""

import os
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows.tables import doubt_lines, missing_lines, result_rows, time_line
from nightbench.summary import NightSummary

__all__ = ["TerminalProgress", "open_console", "print_night", "table"]

NUMERIC = {"throughput", "p50", "p95", "p99", "cold start", "RSS", "errors"}


PIPE_WIDTH = 160
"""Columns where there is no terminal to ask: a log or a file should not be folded to 80."""


def open_console() -> Console:
    """Where commands write."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


class TerminalProgress:
    """A `tasks.progress.Progress` for people: a live bar on a terminal, plain lines in a log file."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> "TerminalProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, cells: int) -> None:
        self._bar.update(self._task, total=cells)
        self._console.print(f"{cells} cells to measure")

    def doing(self, what: str) -> None:
        self._bar.update(self._task, description=what)
        if not self._console.is_terminal:
            self._console.print(what, markup=False)

    def done(self, cells: int) -> None:
        self._bar.advance(self._task, cells)

    def note(self, text: str) -> None:
        self._console.print(f"note: {text}", markup=False, style="yellow")


def table(title: str, rows: list[dict[str, str]]) -> Table:
    """Rows of equal keys as a table; numbers to the right."""
    drawn = Table(title=title, title_justify="left", header_style="bold", row_styles=["", "dim"])
    for name in rows[0] if rows else ["nothing"]:
        drawn.add_column(name, justify="right" if name in NUMERIC else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row.values())
    return drawn


def print_night(console: Console, night: NightSummary) -> None:
    """The results, what is doubted and why, what is missing and why, and where the time went."""
    run = night.run
    console.print(table(f"{run.suite}, run {run.run_id}, figures with 95 % intervals", result_rows(night)))
    for heading, lines in (("doubted", doubt_lines(night)), ("missing", missing_lines(night))):
        if lines:
            console.print(heading, style="bold")
        for line in lines:
            console.print(f"  {line}", markup=False)
    console.print(f"time: {time_line(night)}")
