"""What the commands that read the database have in common."""

from rich.console import Console

from db.drain import drain
from db.store import Store
from launch.reaper import reap
from nightbench.record import Record
from nightbench.settings import Settings
from tasks.store import open_store

__all__ = ["current_store", "records_of"]


def current_store(settings: Settings, console: Console) -> Store:
    """The database with everything this machine has spooled in it, after what a killed run left has been ended."""
    reap()
    store = open_store(settings)
    drained = drain(settings.spool, store)
    if drained.skipped:
        console.print(f"{drained.skipped} damaged spool lines were skipped", style="yellow", highlight=False)
    if drained.refused:
        console.print(f"{len(drained.refused)} records were refused; `nightbench ingest` says why", style="yellow")
    return store


def records_of(run: str, settings: Settings, console: Console) -> list[Record]:
    """One run's records; ``run`` is its id, a unique beginning of it, or ``last``."""
    store = current_store(settings, console)
    return store.records(store.run_id(run))
