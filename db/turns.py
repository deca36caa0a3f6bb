"""Who may write: one at a time, of all the processes and machines that share a database."""

from sqlalchemy import Connection, text

__all__ = ["take_turn"]

_LOCK = 7_105_513_022


def take_turn(connection: Connection) -> None:
    """Wait until nobody else writes records, makes months or rolls nights up; it is ours until the transaction ends.

    Two that wrote the same keys in different orders would wait for each other forever, a cell's measurement must see
    its missing row, or be seen by it, and a night must not be rolled up while it is added to.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
