"""The database of nights, as the rest of nightbench sees it."""

from collections.abc import Iterable

from db import query
from db.ingest import Ingested, Refusal, ingest
from db.judging_store import JudgingStore
from db.query import Night
from db.rollups import raw_dropped
from db.spreads import SpreadStore
from nightbench.record import KitRecord, Record, RunStarted

__all__ = ["Ingested", "Night", "Refusal", "Store"]


class Store(SpreadStore, JudgingStore):
    """A Postgres whose tables `db.migrate` has made. Connects when first asked; survives the database's restarts.

    Every method is one transaction, and raises `db.errors.DatabaseDown` if the database does not answer.
    """

    def ingest(self, records: Iterable[Record]) -> Ingested:
        """Write records, each once, however often it is sent; all that are admitted, or none."""
        with self._transaction() as connection:
            return ingest(connection, records)

    def records(self, run_id: str, *kinds: type[Record]) -> list[Record]:
        """What a run came to, as records equal to the ones ingested; none for an unknown run. Of these kinds alone, if
        any are given: measurements are most of a night.

        Of a run that was resumed, these are the latest end, the measurement of a cell that was missing at first, and
        the export that had failed at first. A trace's path is empty: its sha256 is kept, which names it.
        """
        with self._transaction() as connection:
            return query.records(connection, run_id, kinds)

    def run_started(self, run_id: str) -> RunStarted | None:
        """How a run began; ``None`` where it is unknown, or its own record was lost."""
        found = self.records(run_id, RunStarted)
        return next((record for record in found if isinstance(record, RunStarted)), None)

    def was_retired(self, run_id: str) -> bool:
        """Whether its timed cells were dropped by age; its trends stay."""
        with self._transaction() as connection:
            return bool(raw_dropped(connection, [run_id]))

    def kit(self, run_id: str, server: str) -> KitRecord | None:
        """What a server was made of in one run; ``None`` where that was not kept."""
        kits = (record for record in self.records(run_id, KitRecord) if isinstance(record, KitRecord))
        return next((kit for kit in kits if kit.server == server), None)

    def cell_ids(self, run_id: str) -> frozenset[str]:
        """The cells of a run that are done: timed, or known to be missing."""
        with self._transaction() as connection:
            return query.cell_ids(connection, run_id)

    def history(self, limit: int = 20, suite: str | None = None) -> list[Night]:
        """The newest runs first."""
        with self._transaction() as connection:
            return query.history(connection, limit, suite)

    def run_id(self, prefix: str) -> str:
        """The one run meant by its id, by a beginning no other run has, or by ``last``; `UsageError` otherwise."""
        with self._transaction() as connection:
            return query.run_id(connection, prefix)
