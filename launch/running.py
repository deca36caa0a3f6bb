"""One server's processes, from the start of the first to the end of the last."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from launch.cgroup import MemoryGroup
from launch.labels import labels
from launch.limits import affinity
from launch.request import LaunchRequest
from launch.serving import settings_of
from launch.tree import Tree, of_deployment
from nightbench.errors import DeploymentError
from nightbench.server import Command

__all__ = ["running"]

_KEPT = ("HOME", "LANG", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
"""What a server sees of the user's environment; the last two are how machines with GPUs tell where they are."""


def _environment(request: LaunchRequest, command: Command, folder: Path) -> dict[str, str]:
    path = f"{request.environment.python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {
        **settings_of(request, folder),
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        "PATH": path,
        **command.env,
        **labels(request.run_id, request.deployment_id),
    }


@contextmanager
def running(
    request: LaunchRequest, command: Command, folder: Path, memory: MemoryGroup
) -> Iterator[tuple[subprocess.Popen[bytes], Tree]]:
    """The server's root process and its tree, in a session of its own; all of it is ended with the block.

    `DeploymentError` of kind ``died`` if the program cannot be started at all.
    """
    request.log_path.parent.mkdir(parents=True, exist_ok=True)
    with request.log_path.open("ab") as log, affinity(request.limits.cpus):
        try:
            process = subprocess.Popen(
                command.argv,
                cwd=folder,
                env=_environment(request, command, folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, TypeError, ValueError) as error:
            raise DeploymentError("died", f"{command.argv[0]} could not be started: {error}") from error
        tree = of_deployment(process.pid, request.run_id, request.deployment_id)
    try:
        memory.admit(process.pid)
        yield process, tree
    finally:
        _end(request, process, tree)


def _end(request: LaunchRequest, process: subprocess.Popen[bytes], tree: Tree) -> None:
    """Ask the root to leave, then kill what is left, also when a second Ctrl-C ends the asking."""
    stop = request.spec.stop
    try:
        # Seen before anything ends: a child that left its session is found by its parent, while it has one.
        tree.alive()
        process.send_signal(signal.Signals[stop.signal])
        with suppress(subprocess.TimeoutExpired):
            process.wait(stop.grace_s)
    finally:
        survivors = tree.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
        if survivors:
            pids = ", ".join(str(seen.pid) for seen in survivors)
            with request.log_path.open("a") as log:
                log.write(f"nightbench: could not be killed: {pids}\n")
