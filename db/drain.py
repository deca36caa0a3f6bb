"""From the spool into the database: what was written while no database was there, or by another machine."""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from db.spool import DONE, lies_at, read
from db.store import Refusal, Store
from nightbench.errors import NightbenchError
from nightbench.record import Record, RunFinished, RunStarted

__all__ = ["Drained", "drain"]

_RESUMED_WITHIN_S = 14 * 86_400


@dataclass(frozen=True, slots=True)
class Drained:
    """What one pass over the spool found."""

    files: int
    new: int
    known: int
    skipped: int
    """Lines that were torn or rotten: nothing will bring their records back."""
    refused: tuple[Refusal, ...] = ()
    """What a later version of nightbench, or of the tables, may yet take."""


def drain(spool_dir: Path, store: Store) -> Drained:
    """Store what every spool file holds; put away those that ingesting again would gain nothing from.

    These are the files of runs that completed, and of those that nobody has resumed for two weeks, unless a record was
    refused. Damaged lines, which no later pass will
    mend, do not keep a file here. Draining again, or from two processes at once, changes nothing. A database that
    goes away raises `db.errors.DatabaseDown`; every file not stored whole is still there for the next pass.
    """
    files = new = known = skipped = 0
    refused: list[Refusal] = []
    for path in sorted(spool_dir.glob("*.jsonl")):
        with _quiet(path) as nobody_writes:
            try:
                contents = read(path)
            except FileNotFoundError:
                continue  # Another drain was quicker.
            done = store.ingest(contents.records)
            left = *done.refused, *(Refusal(path.name, why) for why in contents.unknown)
            files += 1
            new += done.new
            known += done.known
            skipped += contents.skipped
            refused += left
            # A run that was cancelled or failed stays for a while: `nightbench run --resume` looks for it here.
            whole = any(isinstance(each, RunFinished) and each.status == "completed" for each in contents.records)
            if whole:
                _add_to_history(store, contents.records)
            if nobody_writes and (whole or _given_up(path)) and not left:
                _put_away(path)
    return Drained(files, new, known, skipped, tuple(refused))


def _add_to_history(store: Store, records: Sequence[Record]) -> None:
    """A night that nobody judged here, because it ran offline or on another machine, is history for the next all the
    same. One whose beginning was lost, or that holds what no later pass will read, adds nothing."""
    if not any(isinstance(each, RunStarted) for each in records):
        return
    # They bring numpy, which most passes, over a spool that is empty, can do without.
    from nightbench.judge.points import points_of
    from nightbench.summary import summarise

    try:
        night = summarise(records)
        points = points_of(night, night.run.suite)
    except NightbenchError:
        return
    store.put_points(night.run.run_id, points)


def _given_up(path: Path) -> bool:
    """Whether nothing was written there for so long that nobody will resume the run: each pass would read it again, for
    ever."""
    return time.time() - path.stat().st_mtime > _RESUMED_WITHIN_S


@contextmanager
def _quiet(path: Path) -> Iterator[bool]:
    """Whether no run is writing the file that lies there; if so, none can until the block ends."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield lies_at(descriptor, path)
    finally:
        os.close(descriptor)


def _put_away(path: Path) -> None:
    """Move a file aside. A resumed run leaves a second file of the same name, which must not replace the first."""
    folder = path.parent / DONE
    folder.mkdir(exist_ok=True)
    target, count = folder / path.name, 1
    while target.exists():
        count += 1
        target = folder / f"{path.stem}.{count}{path.suffix}"
    path.rename(target)
