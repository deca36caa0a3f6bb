"""What the commands that read the database have in common."""

from rich.console import Console

from db.drain import drain
from db.store import Store
from launch.reaper import reap
from nightbench.errors import UsageError
from nightbench.record import Record, RunStarted
from nightbench.settings import Settings
from tasks.store import open_store

__all__ = ["current_store", "records_of", "whole_records"]


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
    with current_store(settings, console) as store:
        return whole_records(store, store.run_id(run))


def whole_records(store: Store, run_id: str) -> list[Record]:
    """A run's records; `UsageError` where its own, without which nothing can be said of the rest, is not among them, or
    its timed cells were dropped by age."""
    if store.was_retired(run_id):
        raise UsageError(
            f"run: the timed cells of {run_id} were dropped by age; its trends stay in the dashboards, and the rest is "
            "in a backup from before"
        )
    records = store.records(run_id)
    if not any(isinstance(record, RunStarted) for record in records):
        raise UsageError(f"run: the beginning of {run_id} is not stored; `nightbench ingest` brings in what is spooled")
    return records
