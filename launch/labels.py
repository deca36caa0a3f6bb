"""The labels everything we start carries, so that a later command can tell whose it was.

A name or an environment variable holds the owner: the nightbench process that answers for a thing. Once no such
process lives, the thing is an orphan (`launch.reaper`). Services meant to outlive a command carry no label.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from socket import gethostname

from launch.processes import look_up

__all__ = [
    "DEPLOYMENT",
    "MACHINE_LABEL",
    "OWNER",
    "OWNER_LABEL",
    "RUN",
    "Owner",
    "container_labels",
    "labels",
    "this_machine",
]

RUN = "NIGHTBENCH_RUN"
DEPLOYMENT = "NIGHTBENCH_DEPLOYMENT"
OWNER = "NIGHTBENCH_OWNER"
OWNER_LABEL = "nightbench.owner"
"""On containers and their networks, what `OWNER` is in a process's environment."""
MACHINE_LABEL = "nightbench.machine"
"""On them, `this_machine`: which one's boot ended the owner."""
_MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))

_LABEL = re.compile(r"(\d+):(\d+):([0-9a-z]+)")
_NAME = re.compile(r"nightbench-(\d+)-(\d+)-([0-9a-z]+)-")


@cache
def _space() -> str:
    """Names the set in which process ids are unique: this boot, and this PID namespace.

    Without it a container's runs would look orphaned from outside, and those before a reboot alive after it.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return "local"
    return sha256(f"{boot}{namespace}".encode()).hexdigest()[:8]


@cache
def this_machine() -> str:
    """Names the machine across its boots, without telling anybody its id, which is to be kept secret (machine-id(5)).

    With its host name, for what runs in a container may have an id from its image, and then everywhere the same.
    """
    told = ""
    for path in _MACHINE_IDS:
        with suppress(OSError):
            told = told or path.read_text(errors="replace").strip()
    return sha256(f"nightbench {told} {gethostname()}".encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Owner:
    """One process for good: its id alone would be given to another one day."""

    pid: int
    started: int
    """Its start time, in the unit of `launch.processes.Seen.started`."""
    space: str

    @classmethod
    def current(cls) -> "Owner":
        """This process."""
        me = look_up(os.getpid())
        return cls(os.getpid(), me.started if me else 0, _space())

    @classmethod
    def of_label(cls, text: str) -> "Owner | None":
        """The owner in the value of ``NIGHTBENCH_OWNER``."""
        match = _LABEL.fullmatch(text)
        return cls(int(match[1]), int(match[2]), match[3]) if match else None

    @classmethod
    def of_name(cls, name: str) -> "Owner | None":
        """The owner in the name of a file, folder or cgroup that carries `prefix`."""
        match = _NAME.search(name)
        return cls(int(match[1]), int(match[2]), match[3]) if match else None

    @property
    def label(self) -> str:
        return f"{self.pid}:{self.started}:{self.space}"

    @property
    def prefix(self) -> str:
        """What the names of this owner's files begin with."""
        return f"nightbench-{self.pid}-{self.started}-{self.space}-"

    @property
    def dead(self) -> bool:
        """Whether it surely no longer runs. One of another PID namespace cannot be judged: not dead."""
        if self.space != _space():
            return False
        seen = look_up(self.pid)
        return seen is None or seen.zombie or seen.started != self.started


def labels(run_id: str, deployment_id: str) -> dict[str, str]:
    """The variables by which a process of one deployment is found again, to be put in its environment."""
    return {RUN: run_id, DEPLOYMENT: deployment_id, OWNER: Owner.current().label}


def container_labels(run_id: str, deployment_id: str, server: str) -> dict[str, str]:
    """Docker's labels on what belongs to one deployment."""
    return {
        "nightbench.run": run_id,
        "nightbench.deployment": deployment_id,
        "nightbench.server": server,
        OWNER_LABEL: Owner.current().label,
        MACHINE_LABEL: this_machine(),
    }
