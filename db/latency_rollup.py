"""The latencies of a series in one night, counted in steps: a heat map's column that SQL can read.

Histograms are stored as their tools write them, deflated, which SQL cannot open. They are opened once, when a night is
rolled up: a third of a millisecond each, too much for the path that records come in by.
"""

from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Sequence

from sqlalchemy import ARRAY, BigInteger, Column, Connection, ForeignKey, Table, Text, insert, select

from db.columns import metadata
from db.measurement_tables import measurements
from nightbench.errors import NightbenchError

__all__ = ["night_latency", "roll_up_latency"]

night_latency = Table(
    "night_latency",
    metadata,
    Column("fingerprint", Text, ForeignKey("cases.fingerprint"), primary_key=True),
    Column("run_id", Text, ForeignKey("night_rollups.run_id", ondelete="CASCADE"), primary_key=True),
    Column("upper_ns", ARRAY(BigInteger), nullable=False),
    Column("requests", ARRAY(BigInteger), nullable=False),
)


def roll_up_latency(connection: Connection, runs: Sequence[str]) -> None:
    """Count the successful requests of these nights, as far as they are not; each has its row in ``night_rollups``."""
    known = set(connection.scalars(select(night_latency.c.run_id).where(night_latency.c.run_id.in_(runs)).distinct()))
    for run_id in dict.fromkeys(runs):
        rows = [] if run_id in known else _counted(connection, run_id)
        if rows:
            connection.execute(insert(night_latency), rows)


def _counted(connection: Connection, run_id: str) -> list[dict[str, object]]:
    # They bring numpy, which a command that only reads the tables can do without.
    from nightbench.histogram import LatencyHistogram
    from nightbench.latency_steps import counted

    columns = select(measurements.c.fingerprint, measurements.c.histogram).where(measurements.c.run_id == run_id)
    totals: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for fingerprint, histogram in connection.execute(columns):
        try:
            totals[fingerprint].update(counted(LatencyHistogram.decode(b64encode(histogram).decode())))
        except NightbenchError:
            # One that cannot be read leaves its round out; the round's figures stand on their own.
            continue
    return [
        {"fingerprint": fingerprint, "run_id": run_id, "upper_ns": list(steps), "requests": list(steps.values())}
        for fingerprint, steps in ((fingerprint, dict(sorted(total.items()))) for fingerprint, total in totals.items())
        if steps
    ]
