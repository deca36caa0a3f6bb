"""`nightbench ingest`."""

from flows.console import open_console
from launch.reaper import reap
from nightbench.settings import Settings

__all__ = ["ingest"]


def ingest() -> None:
    """Bring spooled results into the database; what is there already is left as it is."""
    from tasks.store import ingest as drain

    reap()
    drained = drain(Settings.from_environment())
    console = open_console()
    console.print(
        f"{drained.files} spool files: {drained.new} new records, {drained.known} known already, "
        f"{drained.skipped} damaged lines skipped"
    )
    for refusal in drained.refused:
        console.print(f"refused: {refusal.reason}: {refusal.record}"[:500], markup=False)
