"""Whether this machine can run a server as a process, from what the server's folder says it needs."""

import shutil
from pathlib import Path

from nightbench.server import ServerSpec

__all__ = ["absent", "missing"]

_GPU = "gpu"
_GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""NVIDIA's driver, on Linux and under WSL."""


def missing(spec: ServerSpec) -> tuple[str, ...]:
    """What is not here, in words; empty if `launch.process` can start it. Its own packages are no question: uv
    installs them."""
    if not spec.process:
        docker = () if shutil.which("docker") else ("docker",)
        return ("the container launcher (it exists as an image only)", *docker, *absent(spec.needs))
    return absent(spec.needs)


def absent(needs: tuple[str, ...]) -> tuple[str, ...]:
    """What of `nightbench.server.ServerSpec.needs` is not here, in words."""
    return tuple(_words(need) for need in needs if not _here(need))


def _here(need: str) -> bool:
    return any(path.exists() for path in _GPU_DEVICES) if need == _GPU else shutil.which(need) is not None


def _words(need: str) -> str:
    return "a GPU" if need == _GPU else f"the program {need}"
