"""Whether this machine can run a server as a process, from what the server's folder says it needs."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from nightbench.server import OptionValue, ServerSpec

__all__ = ["absent", "lacks_gpu", "missing", "unmet"]

_GPU = "gpu"
_GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""NVIDIA's driver, on Linux and under WSL."""


def missing(spec: ServerSpec) -> tuple[str, ...]:
    """What is not here, in words; empty if `launch.process` can start it. Its own packages are no question: uv
    installs them."""
    if not spec.process:
        docker = () if shutil.which("docker") else ("docker",)
        return ("a container (it exists as an image only)", *docker, *absent(spec.needs))
    return absent(spec.needs)


def unmet(spec: ServerSpec, options: Mapping[str, OptionValue]) -> tuple[str, ...]:
    """What of all that ``spec`` needs with these options is not here, in words."""
    return absent(tuple(dict.fromkeys((*spec.needs, *((_GPU,) if _on_gpu(options) else ())))))


def lacks_gpu(spec: ServerSpec, options: Mapping[str, OptionValue]) -> bool:
    """Whether it takes a GPU, in a container or out of it, and this machine has none."""
    return (_GPU in spec.needs or _on_gpu(options)) and not _here(_GPU)


def _on_gpu(options: Mapping[str, OptionValue]) -> bool:
    return any(options.get(name) in {"cuda", "tensorrt"} for name in ("device", "provider"))


def absent(needs: tuple[str, ...]) -> tuple[str, ...]:
    """What of `nightbench.server.ServerSpec.needs` is not here, in words."""
    return tuple(_words(need) for need in needs if not _here(need))


def _here(need: str) -> bool:
    return any(path.exists() for path in _GPU_DEVICES) if need == _GPU else shutil.which(need) is not None


def _words(need: str) -> str:
    return "a GPU" if need == _GPU else f"the program {need}"
