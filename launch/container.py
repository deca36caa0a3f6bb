"""What one container is made of: nothing here starts or asks anything.

It gets what the same server's process gets, and is shut off from all else: no capability, no way to gain one, a root
file system that it cannot write, and no user of any right outside.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.labels import container_labels, labels
from launch.ports import LOOPBACK
from launch.request import LaunchRequest
from launch.serving import settings_of
from launch.workdir import SHARED_MEMORY
from nightbench.server import Command, Protocol
from servers.container import UID

if TYPE_CHECKING:
    from docker.types import DeviceRequest

__all__ = ["RESOLVER", "creation", "device_requests", "hand_over", "network_options", "spoken", "user_of"]

RESOLVER = "resolv.conf"
_NOWHERE = f"nameserver {LOOPBACK}\noptions timeout:1 attempts:1\n"
"""Nobody listens there: every lookup fails at once. Docker's own resolver would take 10 s to give up."""
_MOST_PROCESSES = 16384
"""With their threads. What forks without end hits this, and not the machine."""
_ROOTS_HOME = "/root"
_SHARED = frozenset({Protocol.KSERVE_HTTP_SHM, Protocol.KSERVE_GRPC_SHM})


def network_options() -> dict[str, str]:
    """Of the bridge: what leaves this machine carries an address that nobody outside can answer to."""
    return {"com.docker.network.bridge.enable_ip_masquerade": "false"}


def creation(
    request: LaunchRequest, command: Command, folder: Path, ports: Sequence[int], network: str
) -> dict[str, Any]:
    """The arguments of `docker.models.containers.ContainerCollection.create`, but for the image.

    ``folder`` is the working directory; a `RESOLVER` lies in it.
    """
    from docker.types import LogConfig, Mount

    spec, limits = request.spec, request.limits
    source = request.artifact.path.parent
    read_only = [folder / name for name in spec.read_only if (folder / name).exists()]
    mounts = [
        Mount(str(folder), str(folder), type="bind"),
        *(Mount(str(path), str(path), type="bind", read_only=True) for path in (source, *read_only)),
        Mount("/etc/resolv.conf", str(folder / RESOLVER), type="bind", read_only=True),
    ]
    return {
        "name": folder.name,
        # Without arguments the image's own entry point runs.
        **({"entrypoint": list(command.argv[:1]), "command": list(command.argv[1:])} if command.argv else {}),
        "environment": {
            **settings_of(request, folder),
            "HOME": str(folder),
            **command.env,
            **labels(request.run_id, request.deployment_id),
        },
        "labels": container_labels(request.run_id, request.deployment_id, spec.name),
        "working_dir": str(folder),
        "user": user_of(os.getuid(), os.getgid()),
        "mounts": mounts,
        "network": network,
        "ports": {f"{port}/tcp": (LOOPBACK, port) for port in ports},
        # One hop: a packet reaches this machine, and no router passes it on.
        "sysctls": {"net.ipv4.ip_default_ttl": "1"},
        "cpuset_cpus": "" if limits.cpus is None else ",".join(map(str, limits.cpus)),
        **({} if limits.memory_bytes is None else _memory(limits.memory_bytes)),
        "device_requests": device_requests(limits.gpus),
        **_shared_memory(spoken(spec.protocols, os.getuid(), request.shared_memory), limits.memory_bytes),
        "pids_limit": _MOST_PROCESSES,
        "read_only": not spec.writable_root,
        "tmpfs": _scratch((folder, source)),
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        # Reaps orphans, and passes on signals that a first process would otherwise be spared.
        "init": True,
        "stop_signal": spec.stop.signal,
        # Readiness is for the prober to find; a check every few seconds would be load that nobody asked for.
        "healthcheck": {"test": ["NONE"]},
        "log_config": LogConfig(type="local", config={"max-size": "16m", "max-file": "2"}),
    }


def device_requests(gpus: Sequence[str]) -> "list[DeviceRequest]":
    """``all``, or each by index or UUID; empty asks for none."""
    from docker.types import DeviceRequest

    if not gpus:
        return []
    which: Mapping[str, Any] = {"count": -1} if "all" in gpus else {"device_ids": list(gpus)}
    return [DeviceRequest(capabilities=[["gpu"]], **which)]


def user_of(uid: int, gid: int) -> str:
    """Who the server is in its container: ourselves, whose files it needs, unless that is root."""
    return f"{UID}:{UID}" if uid == 0 else f"{uid}:{gid}"


def spoken(protocols: Mapping[Protocol, str], uid: int, shared_memory: bool = True) -> dict[Protocol, str]:
    """Those that a container can speak: `user_of` root is another user, whom the load engine's own shared memory, which
    nobody else may open, is closed to; and without ``shared_memory`` it is closed to all."""
    open_to_it = shared_memory and uid != 0
    return {protocol: port for protocol, port in protocols.items() if open_to_it or protocol not in _SHARED}


def hand_over(folder: Path) -> None:
    """Let the container's user write where we laid things out, and leave a `RESOLVER` there."""
    (folder / RESOLVER).write_text(_NOWHERE)
    if os.getuid() != 0:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, UID, UID, follow_symlinks=False)


def _scratch(mounted: Sequence[Path]) -> dict[str, str]:
    """Folders in memory, empty at first, counted by the memory limit."""
    scratch = {"/tmp": "rw,exec,nosuid,nodev,mode=1777"}  # noqa: S108  (the container's own)
    # In most images only root may pass through its home, even to what is mounted there.
    if any(path.is_relative_to(_ROOTS_HOME) for path in mounted):
        scratch[_ROOTS_HOME] = "ro,nosuid,nodev,mode=755"
    return scratch


def _memory(limit_bytes: int) -> dict[str, Any]:
    # Equal to the memory alone: no swap, as for a process.
    return {"mem_limit": limit_bytes, "memswap_limit": limit_bytes}


def _shared_memory(protocols: Mapping[Protocol, str], limit_bytes: int | None) -> dict[str, Any]:
    """As much as a process has. Tensors in shared memory are this machine's, which only its own users may open."""
    if _SHARED & protocols.keys():
        return {"ipc_mode": "host"}
    return {"shm_size": limit_bytes or shutil.disk_usage(SHARED_MEMORY).total, "ipc_mode": "private"}
