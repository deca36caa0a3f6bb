"""Where the machines that share one load meet: who is there, when all begin, and what each has sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, insert, null, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from db.database import Database
from db.spread_tables import spread_parts, spreads
from nightbench.errors import NightbenchError

__all__ = ["Spread", "SpreadPart", "SpreadStore"]


@dataclass(frozen=True, slots=True)
class Spread:
    """A load as it was written down for all machines."""

    machines: int
    job: Mapping[str, Any]
    """`loadgen.job.Job` as JSON has it; its files are elsewhere on every machine."""
    pool: bytes
    """The file of inputs."""
    start_at_ns: int | None
    """Unix time; ``None`` until all are there."""


@dataclass(frozen=True, slots=True)
class SpreadPart:
    """One machine's part; ``result`` and ``samples`` once it is over."""

    host: str
    result: Mapping[str, Any] | None
    samples: bytes | None


class SpreadStore(Database):
    """Each method is one transaction, like all of the store's."""

    def begin_spread(self, spread_id: str, machines: int, job: Mapping[str, Any], pool: bytes) -> None:
        row = {"spread_id": spread_id, "machines": machines, "job": job, "pool": pool, "made_at": datetime.now(UTC)}
        with self._transaction() as connection:
            connection.execute(insert(spreads).values(row))

    def spread(self, spread_id: str) -> Spread:
        """`NightbenchError` where it is over: nobody waits for its parts any more."""
        query = select(spreads.c.machines, spreads.c.job, spreads.c.pool, spreads.c.start_at_ns)
        with self._transaction() as connection:
            row = connection.execute(query.where(spreads.c.spread_id == spread_id)).one_or_none()
        if row is None:
            raise NightbenchError(f"load {spread_id} is over; nobody waits for a part of it")
        return Spread(*row)

    def join_spread(self, spread_id: str, machine: int, host: str) -> None:
        """Say that a machine is ready. Said again, by a run that was begun again, the last one counts."""
        row = {"spread_id": spread_id, "machine": machine, "host": host}
        statement = upsert(spread_parts).values(row)
        with self._transaction() as connection:
            connection.execute(
                statement.on_conflict_do_update(constraint=spread_parts.primary_key, set_={"host": host})
            )

    def start_spread(self, spread_id: str, start_at_ns: int) -> None:
        with self._transaction() as connection:
            connection.execute(update(spreads).where(spreads.c.spread_id == spread_id).values(start_at_ns=start_at_ns))

    def put_part(self, spread_id: str, machine: int, result: Mapping[str, Any], samples: bytes | None) -> None:
        key = (spread_parts.c.spread_id == spread_id) & (spread_parts.c.machine == machine)
        with self._transaction() as connection:
            connection.execute(update(spread_parts).where(key).values(result=result, samples=samples))

    def spread_parts(self, spread_id: str, *, whole: bool = False) -> dict[int, SpreadPart]:
        """Those that have joined, by machine; with their samples if ``whole``."""
        samples = spread_parts.c.samples if whole else null()
        query = select(spread_parts.c.machine, spread_parts.c.host, spread_parts.c.result, samples)
        with self._transaction() as connection:
            rows = connection.execute(query.where(spread_parts.c.spread_id == spread_id)).all()
        return {machine: SpreadPart(host, result, found) for machine, host, result, found in rows}

    def forget_spreads(self, before: datetime) -> int:
        """Those made before then whose askers never came to forget them; how many there were."""
        with self._transaction() as connection:
            return connection.execute(delete(spreads).where(spreads.c.made_at < before)).rowcount

    def end_spread(self, spread_id: str) -> None:
        """Forget it: what it came to is with whoever asked for it."""
        with self._transaction() as connection:
            connection.execute(delete(spreads).where(spreads.c.spread_id == spread_id))
