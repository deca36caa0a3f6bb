"""A set of processes that end together: found anew each time, because a tree forks, leaves sessions, loses parents."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from launch.labels import DEPLOYMENT, OWNER, labels
from launch.processes import Seen, descendants, environment_of, look_up, send, snapshot

__all__ = ["Find", "Tree", "of_deployment"]

Find = Callable[[dict[int, Seen]], tuple[set[int], set[int]]]
"""From the process table: the processes a tree grows from, and those it never takes in."""


class Tree:
    """What ``find`` finds with all descendants, and what was in the tree before and still lives."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._known: dict[int, int] = {}

    def alive(self) -> list[Seen]:
        """Every living process of the tree, zombies left out."""
        table = snapshot()
        roots, spare = self._find(table)
        known = {pid for pid, start in self._known.items() if pid in table and table[pid].started == start}
        found = [table[pid] for pid in descendants(roots | known, table, spare) if pid in table]
        self._known = {seen.pid: seen.started for seen in found}
        return [seen for seen in found if not seen.zombie]

    def wait(self, timeout_s: float) -> bool:
        """Wait for all of it to end; whether it did."""
        deadline = time.monotonic() + timeout_s
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def kill(self, timeout_s: float = 5.0) -> list[Seen]:
        """SIGKILL until nothing is left: a tree may fork while it is being killed.

        Returns what would not die in time: a process that waits for a device cannot.
        """
        deadline = time.monotonic() + timeout_s
        while left := self.alive():
            for seen in left:
                send(seen, signal.SIGKILL)
            time.sleep(0.005)
            for seen in left:
                # An orphan becomes our own child where we are the init of a container.
                with suppress(ChildProcessError):
                    os.waitpid(seen.pid, os.WNOHANG)
            if time.monotonic() > deadline:
                return self.alive()
        return []

    def rss_bytes(self) -> int:
        """Resident memory of all of it. Pages that several processes share count once for each."""
        import psutil

        total = 0
        for seen in self.alive():
            with suppress(psutil.Error):
                total += psutil.Process(seen.pid).memory_info().rss
        return total

    def listens(self, port: int) -> bool:
        """Whether one of them listens on this TCP port; true where that cannot be looked up."""
        import psutil

        for seen in self.alive():
            try:
                sockets = psutil.Process(seen.pid).net_connections(kind="tcp")
            except psutil.NoSuchProcess:
                continue
            except psutil.Error:
                return True
            if any(s.status == psutil.CONN_LISTEN and s.laddr and s.laddr.port == port for s in sockets):
                return True
        return False


def of_deployment(pid: int, run_id: str, deployment_id: str) -> Tree:
    """The tree of a process just started, and whatever carries the labels of this deployment, wherever it went."""
    root = look_up(pid)
    marks = labels(run_id, deployment_id)

    def find(table: dict[int, Seen]) -> tuple[set[int], set[int]]:
        me = os.getpid()
        roots = {
            other
            for other in table
            if other != me
            and (environment := environment_of(other)).get(OWNER) == marks[OWNER]
            and environment.get(DEPLOYMENT) == deployment_id
        }
        # The id of an ended root stays its session's while a member lives; afterwards it may name a stranger.
        if root is not None and (pid not in table or table[pid].started == root.started):
            roots.add(pid)
        return roots, {me}

    return Tree(find)
