"""What one deployment may use, and how far this machine can hold it to that."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile

from launch.cgroup import MemoryGroup
from nightbench.errors import UsageError
from nightbench.server import Limits, OptionValue, ServerSpec

__all__ = ["affinity", "describe", "gpus_for"]

_CAN_PIN = hasattr(os, "sched_setaffinity")


_ON_GPU = frozenset({"cuda", "tensorrt"})
"""Values of a server's options that ask for NVIDIA's runtime."""


def _list(cpus: tuple[int, ...]) -> str:
    return ",".join(map(str, cpus))


@contextmanager
def affinity(cpus: tuple[int, ...] | None) -> Iterator[None]:
    """A process started in this block may run on ``cpus`` only, and so may its children.

    Affinity belongs to a thread and is inherited, so this thread takes it on for as long as it takes to start the
    process: unlike a change afterwards, no thread of the process escapes it. `UsageError` if a CPU is not ours.
    """
    if cpus is None or not _CAN_PIN:
        yield
        return
    before = os.sched_getaffinity(0)
    if not cpus or not before.issuperset(cpus):
        allowed = _list(tuple(sorted(before)))
        raise UsageError(f"limits: cpus: {_list(cpus) or 'an empty list'} cannot be had; choose from {allowed}")
    try:
        os.sched_setaffinity(0, cpus)
        yield
    finally:
        os.sched_setaffinity(0, before)


def describe(limits: Limits, memory: MemoryGroup) -> dict[str, str]:
    """Each limit that was asked for and how it is held: the mapping of `nightbench.server.Deployment.limits`."""
    held: dict[str, str] = {}
    if limits.cpus is not None:
        cpus = _list(limits.cpus)
        held["cpus"] = f"affinity {cpus}" if _CAN_PIN else "not enforced: this system cannot pin a process"
    if limits.memory_bytes is not None:
        held["memory"] = memory.held
    return held


def gpus_for(
    spec: ServerSpec, options: Mapping[str, OptionValue], env: Mapping[str, str] = os.environ
) -> tuple[str, ...]:
    """The GPUs that a container of it must be given: those a process would see, if it is to use any.

    CUDA takes ``CUDA_VISIBLE_DEVICES`` up to the first entry that is no device, so that none are seen where it is empty
    or -1 ("CUDA Environment Variables", CUDA's programming guide).
    """
    if "gpu" not in spec.needs and _ON_GPU.isdisjoint(map(str, spec.resolve(options).values())):
        return ()
    told = env.get("CUDA_VISIBLE_DEVICES")
    if told is None:
        return ("all",)
    return tuple(takewhile(lambda part: part not in {"", "-1"}, (part.strip() for part in told.split(","))))
