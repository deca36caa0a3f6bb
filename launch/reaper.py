"""Ends what a killed run left behind. Every command calls it first, so it must be quick and must never guess.

Only what carries a label of ours is considered, and only once the process named in that label is dead.
"""

import os
import shutil
import signal
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from launch.cgroup import MemoryGroup, home_of_groups
from launch.engine import Engine, engine
from launch.labels import DEPLOYMENT, MACHINE_LABEL, OWNER, OWNER_LABEL, RUN, Owner, this_machine
from launch.processes import Seen, environment_of, send
from launch.tree import Tree
from launch.workdir import default_root, marked_engines, remove_segments
from nightbench.errors import DeploymentError
from servers.container import UID

__all__ = ["Reaped", "reap", "reap_containers"]

_GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class Reaped:
    """One thing that was ended or removed."""

    kind: Literal["container", "network", "process", "workdir", "shared_memory", "cgroup"]
    name: str
    """A path or name; of a process its id and the deployment it belonged to."""


def _find_orphans(table: dict[int, Seen], names: dict[int, str]) -> tuple[set[int], set[int]]:
    """The processes that carry a dead owner's label, noted in ``names``, and those to leave alone."""
    found: set[int] = set()
    spared: set[int] = set()
    dead: dict[str, bool] = {}
    for pid in table:
        environment = environment_of(pid)
        label = environment.get(OWNER)
        owner = Owner.of_label(label) if label else None
        if label is None or owner is None:
            continue
        if label not in dead:
            dead[label] = owner.dead
        if dead[label]:
            found.add(pid)
            marks = [environment[key] for key in (RUN, DEPLOYMENT) if key in environment]
            names[pid] = f"{pid} ({' '.join(marks) or 'set-up'})"
        else:
            spared.update((pid, owner.pid))
    # This very command may have been started by something that carries a dead owner's label.
    ancestors: set[int] = set()
    above = table.get(os.getpid())
    while above is not None and above.pid not in ancestors:
        ancestors.add(above.pid)
        above = table.get(above.parent)
    return found - spared - ancestors, spared | ancestors


def _end_orphans() -> list[Reaped]:
    names: dict[int, str] = {}
    tree = Tree(lambda table: _find_orphans(table, names))
    orphans = tree.alive()
    for seen in orphans:
        send(seen, signal.SIGTERM)
    if orphans and not tree.wait(_GRACE_S):
        tree.kill()
    return [Reaped("process", names.get(seen.pid, str(seen.pid))) for seen in orphans]


def _orphaned(name: str) -> bool:
    owner = Owner.of_name(name)
    return owner is not None and owner.dead


def reap_containers(engine: Engine) -> list[Reaped]:
    """Remove every container and network of ours whose owner is dead, or was one of this machine's before it booted.

    An engine may serve several machines: of the others' owners nothing is known.
    """
    from docker.errors import DockerException

    ours: dict[str, str | list[str] | bool] = {"label": OWNER_LABEL}
    removed: list[Reaped] = []
    with suppress(DockerException, OSError):
        for container in engine.client.containers.list(all=True, filters=ours, sparse=True):
            facts = container.attrs
            if _abandoned(facts["Labels"], facts["Created"]):
                with suppress(DockerException, OSError):
                    container.remove(force=True, v=True)
                    removed.append(Reaped("container", facts["Names"][0].lstrip("/")))
        for network in engine.client.networks.list(filters=ours):
            if _abandoned(network.attrs["Labels"], _seconds(network.attrs["Created"])):
                with suppress(DockerException, OSError):
                    network.remove()
                    removed.append(Reaped("network", str(network.name)))
    return removed


def _abandoned(marks: Mapping[str, str], created_s: float) -> bool:
    import psutil

    owner = Owner.of_label(marks.get(OWNER_LABEL, ""))
    here = marks.get(MACHINE_LABEL) == this_machine()
    return owner is not None and (owner.dead or (here and created_s < psutil.boot_time()))


def _seconds(time: str) -> float:
    """Of Docker's times, which have nanoseconds, since the epoch."""
    return datetime.fromisoformat(f"{time[:19]}+00:00" if time.endswith("Z") else time[:19] + time[-6:]).timestamp()


def _end_containers(root: Path) -> list[Reaped]:
    """Those that a killed owner left a mark of: without one, no engine is asked anything."""
    removed: list[Reaped] = []
    for url in marked_engines(root, _orphaned):
        with suppress(DeploymentError):
            removed += reap_containers(engine(url))
    return removed


def _remove_folders(root: Path) -> list[Reaped]:
    removed: list[Reaped] = []
    for folder in root.glob("nightbench-*"):
        with suppress(OSError):
            # A shared temp folder also holds other users' runs; a container's is handed over to nobody.
            if not _orphaned(folder.name) or (found := folder.lstat()).st_uid not in {os.getuid(), UID}:
                continue
            if stat.S_ISREG(found.st_mode):
                folder.unlink()
            else:
                shutil.rmtree(folder)
                removed.append(Reaped("workdir", str(folder)))
    return removed


def _remove_groups() -> list[Reaped]:
    home, _ = home_of_groups()
    left = [] if home is None else [group for group in home.glob("nightbench-*") if _orphaned(group.name)]
    for group in left:
        MemoryGroup(group, "cgroup").remove()
    return [Reaped("cgroup", str(group)) for group in left]


def reap(workdir_root: Path | None = None) -> tuple[Reaped, ...]:
    """End every process and container whose owner is dead; remove the owner's folders, shared memory, cgroups.

    What belongs to a live owner is never touched, nor what carries no label. ``workdir_root`` is the one given to
    the launches, if any was.
    """
    root = workdir_root or default_root()
    containers = _end_containers(root)
    processes = _end_orphans()
    segments = [Reaped("shared_memory", name) for name in remove_segments(_orphaned)]
    return (*containers, *processes, *segments, *_remove_groups(), *_remove_folders(root))
