"""NVIDIA GPUs through NVML, where the optional package ``nvidia-ml-py`` and a GPU are there."""

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

__all__ = ["NvidiaGpus"]


class NvidiaGpus:
    """Every GPU of the machine. Without NVML or a GPU there are none, and that is no error."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._gpus: list[tuple[str, list[tuple[str, Callable[[], float]]]]] = []
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
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                self._gpus.append((f"gpu{index}", _readers(nvml, handle)))
        except nvml.NVMLError:
            self.close()

    def read(self) -> list[tuple[str, str, float]]:
        """GPU, metric and value of everything the GPUs tell; what one of them does not tell is left out."""
        found = []
        for gpu, readers in self._gpus:
            for metric, read in readers:
                try:
                    found.append((gpu, metric, float(read())))
                except self._nvml.NVMLError:
                    continue
        return found

    def close(self) -> None:
        """Let go of NVML; nothing is read afterwards."""
        self._gpus = []
        if self._nvml is not None:
            with suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
            self._nvml = None


def _readers(nvml: Any, handle: Any) -> list[tuple[str, Callable[[], float]]]:
    return [
        ("utilisation_percent", lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        ("memory_bytes", lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used),
        ("power_w", lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
        ("sm_clock_mhz", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        ("temperature_c", lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
    ]
