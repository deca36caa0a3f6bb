"""`nightbench down`."""

from flows.console import open_console
from launch.reaper import reap
from nightbench.settings import Settings

__all__ = ["down"]


def down() -> None:
    """Stop what `up` started."""
    from flows.services import stop_database, stop_prefect

    settings, console = Settings.from_environment(), open_console()
    reap()
    # The database goes last: whoever still works may want to write.
    console.print("Prefect:  " + ("stopped" if stop_prefect(settings) else "was not running"))
    console.print("database: " + ("stopped" if stop_database(settings) else "was not running"))
