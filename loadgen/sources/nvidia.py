"""NVIDIA GPUs through NVML, where the optional package ``nvidia-ml-py`` and a GPU are there.

The figures are those of NVIDIA's "NVML API Reference Guide"; the bits of the clocks' event reasons are in its chapter
NvmlClocksEventReasons, and named throttle reasons in older drivers.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

from loadgen.sources.energy import ENERGY_COUNTER

__all__ = ["NvidiaGpus"]

_REASONS = {
    "power_cap": 0x04,
    "hw_slowdown": 0x08,
    # By software and by hardware.
    "thermal_slowdown": 0x20 | 0x40,
    "power_brake": 0x80,
}
"""Bits of why the clocks are not as high as they could be; 1 or 0 for each."""


class NvidiaGpus:
    """Every GPU of the machine. Without NVML or a GPU there are none, and that is no error."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._gpus: list[tuple[str, Any]] = []
        try:
            nvml = import_module("pynvml")
        except ImportError:
            return
        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            return
        self._nvml = nvml
        try:
            for index in range(nvml.nvmlDeviceGetCount()):
                self._gpus.append((f"gpu{index}", nvml.nvmlDeviceGetHandleByIndex(index)))
        except nvml.NVMLError:
            self.close()

    def read(self, ours: Collection[int] = ()) -> list[tuple[str, str, float]]:
        """GPU, metric and value of everything the GPUs tell; what one of them does not tell is left out.

        ``ours`` are the processes that may compute here. ``foreign_processes`` counts the others, and is known only
        for a GPU that lists one of ours: elsewhere our server computes on another GPU, or NVML's process ids are not
        those we know, as in a container with process ids of its own.
        """
        found = []
        for gpu, handle in self._gpus:
            for read in (*_FIGURES, _reasons, lambda nvml, handle: _foreign(nvml, handle, ours)):
                # An older package does not have every function, and an older GPU not every figure.
                with suppress(self._nvml.NVMLError, AttributeError):
                    found += [(gpu, metric, float(value)) for metric, value in read(self._nvml, handle)]
        return found

    def close(self) -> None:
        """Let go of NVML; nothing is read afterwards."""
        self._gpus = []
        if self._nvml is not None:
            with suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
            self._nvml = None


_Reader = Callable[[Any, Any], Iterator[tuple[str, float]]]


def _figure(metric: str, read: Callable[[Any, Any], float]) -> _Reader:
    def reader(nvml: Any, handle: Any) -> Iterator[tuple[str, float]]:
        yield metric, read(nvml, handle)

    return reader


_FIGURES = (
    _figure("utilisation_percent", lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
    _figure("memory_bytes", lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used),
    _figure("power_w", lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000),
    _figure("sm_clock_mhz", lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)),
    _figure("memory_clock_mhz", lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM)),
    _figure("temperature_c", lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),
    _figure(ENERGY_COUNTER, lambda nvml, gpu: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu)),
)


def _reasons(nvml: Any, handle: Any) -> Iterator[tuple[str, float]]:
    try:
        bits = nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
    except (nvml.NVMLError, AttributeError):
        bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
    for metric, mask in _REASONS.items():
        yield metric, 1.0 if bits & mask else 0.0


def _foreign(nvml: Any, handle: Any, ours: Collection[int]) -> Iterator[tuple[str, float]]:
    pids = {process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
    if pids & set(ours):
        yield "foreign_processes", float(len(pids - set(ours)))
