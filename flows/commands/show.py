"""`nightbench show`."""

from flows.commands.common import records_of
from flows.console import open_console, print_night
from nightbench.settings import Settings
from nightbench.summary import summarise

__all__ = ["show"]


def show(run: str = "last", /) -> None:
    """Print one run's results.

    Parameters
    ----------
    run
        A run's id, a unique beginning of it, or `last`.
    """
    settings, console = Settings.from_environment(), open_console()
    print_night(console, summarise(records_of(run, settings, console)))
