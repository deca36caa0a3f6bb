"""What every launcher does alike: what a server is told, where it is reached, and how its end is put into words."""

import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from launch.request import LaunchRequest
from launch.untrusted import read_small
from nightbench.errors import DeploymentError
from nightbench.server import Command, Endpoint, Protocol, ServeRequest

__all__ = ["PortLost", "command_of", "endpoints_at", "load_time_ns", "serve_request", "settings_of", "signal_name"]

_FOREVER_NS = 2**63


class PortLost(DeploymentError):
    """Another process took a port between our choosing it and the server's listening on it."""


def serve_request(request: LaunchRequest, folder: Path, ports: Mapping[str, int], host: str) -> ServeRequest:
    """What the server's folder may know; ``host`` is the address that it listens on."""
    return ServeRequest(
        model=request.model,
        artifact=request.artifact,
        options=request.spec.resolve(request.options),
        threads=request.threads,
        host=host,
        ports=ports,
        workdir=folder,
        load_time_path=folder / "load_time_ns",
        python=request.environment.python,
        site_packages=request.environment.site_packages,
    )


def command_of(make: Callable[[ServeRequest], Command], serve: ServeRequest) -> Command:
    """What the server's folder says to start. It may be a user's own: what it raises costs its own cells only."""
    try:
        made: object = make(serve)
    except DeploymentError:
        raise
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise DeploymentError("died", f"its command could not be made: {cause}") from error
    if not isinstance(made, Command):
        raise DeploymentError("died", f"its command could not be made: {made!r} is not a Command")
    return made


def settings_of(request: LaunchRequest, folder: Path) -> dict[str, str]:
    """The environment variables that every server gets, whatever starts it."""
    threads = str(request.threads)
    return {
        "LANG": "C.UTF-8",
        "TMPDIR": str(folder),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "PYTHONUNBUFFERED": "1",
        # It phones home by default since 1.29, from a thread of its own.
        "ORT_DISABLE_TELEMETRY": "1",
    }


def endpoints_at(host: str, serve: ServeRequest, protocols: Mapping[Protocol, str]) -> dict[Protocol, Endpoint]:
    """Where each protocol is reached, from outside, at ``host``."""
    return {
        protocol: Endpoint(
            protocol,
            host=host,
            port=serve.ports[port],
            model=serve.model.name,
            options=serve.options,
            threads=serve.threads,
        )
        for protocol, port in protocols.items()
    }


def load_time_ns(path: Path) -> int | None:
    """What the server wrote of its own loading, if it did."""
    try:
        told = int(read_small(path) or "")
    except ValueError:
        return None
    return told if 0 <= told < _FOREVER_NS else None


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
