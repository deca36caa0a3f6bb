"""What NVML tells, by a stand-in for it: no machine of ours has a GPU."""

import os
import sys
import time
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest

from loadgen.sources.energy import energy
from loadgen.sources.nvidia import NvidiaGpus
from loadgen.telemetry import Telemetry
from tests.loadgen.test_telemetry import wait_for

# -- energy


def points(values: list[float], every_ns: int = 200_000_000) -> list[tuple[int, float]]:
    return [(10**9 + n * every_ns, value) for n, value in enumerate(values)]


def test_a_sound_counter_is_energy() -> None:
    found = energy(points([n * 60_000 for n in range(50)]), points([300.0] * 50), 10**9, 11 * 10**9)
    assert found == {"energy_j": pytest.approx(3000.0), "energy_valid": 1.0}


def test_without_power_the_counter_is_believed() -> None:
    assert energy(points([n * 60_000 for n in range(50)]), [], 10**9, 11 * 10**9)["energy_valid"] == 1.0


@pytest.mark.parametrize(
    "counter",
    [
        [n * 60_000 % 1_500_000 for n in range(50)],
        [7.0] * 50,
        [n * 120_000 for n in range(50)],
        [n * 30_000 for n in range(50)],
        [0, 60_000],
    ],
    ids=["reset", "stuck", "double", "half", "short"],
)
def test_a_counter_that_cannot_be_right_is_no_energy(counter: list[float]) -> None:
    assert energy(points(counter), points([300.0] * 50), 10**9, 11 * 10**9) == {"energy_valid": 0.0}


def test_no_counter_is_neither_energy_nor_a_flag() -> None:
    assert energy([], points([300.0] * 50), 10**9, 11 * 10**9) == {}
    assert energy(points([5.0]), [], 10**9, 11 * 10**9) == {}


# -- NVML


class NVMLError(Exception):
    pass


class FakeNvml(SimpleNamespace):
    """Two GPUs, the second of which tells neither its power nor its energy nor who computes on it."""

    NVMLError = NVMLError
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, fails: bool = False, reasons: int = 0, pids: Collection[int] = ()) -> None:
        super().__init__(calls=[], fails=fails, reasons=reasons, pids=pids, read_at=[])

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's names
        self.calls.append("init")
        if self.fails:
            raise NVMLError

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.calls.append("shutdown")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=90 + handle, memory=1)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=10**10, free=10**9, used=9 * 10**9)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        if handle == 1:
            raise NVMLError
        return 345_600

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:  # noqa: N802
        return {self.NVML_CLOCK_SM: 1980, self.NVML_CLOCK_MEM: 2619}[kind]

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: N802
        return {self.NVML_TEMPERATURE_GPU: 61}[sensor]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        if handle == 1:
            raise NVMLError
        return time.monotonic_ns() * 3456 // 10_000_000

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: int) -> int:  # noqa: N802
        return self.reasons if handle == 0 else 0

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        if handle == 1:
            raise NVMLError
        return [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in self.pids]


class OlderNvml(FakeNvml):
    """From before throttle reasons were renamed to event reasons, and without a list of processes."""

    @property
    def nvmlDeviceGetCurrentClocksEventReasons(self) -> Any:  # noqa: N802
        raise AttributeError

    @property
    def nvmlDeviceGetComputeRunningProcesses(self) -> Any:  # noqa: N802
        raise AttributeError

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:  # noqa: N802
        return self.reasons


def test_gpus_tell_what_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    gpus = NvidiaGpus()
    found = {(gpu, metric): value for gpu, metric, value in gpus.read()}
    assert found["gpu0", "utilisation_percent"] == 90
    assert found["gpu1", "utilisation_percent"] == 91
    assert found["gpu0", "memory_bytes"] == 9e9
    assert found["gpu0", "power_w"] == 345.6
    assert ("gpu1", "power_w") not in found
    assert found["gpu1", "sm_clock_mhz"] == 1980
    assert found["gpu1", "temperature_c"] == 61
    assert found["gpu1", "memory_clock_mhz"] == 2619
    gpus.close()
    assert gpus.read() == []
    assert nvml.calls == ["init", "shutdown"]


REASONS = {
    "power_cap": 0x4,  # nvmlClocksEventReasonSwPowerCap
    "hw_slowdown": 0x8,  # nvmlClocksThrottleReasonHwSlowdown
    "thermal_slowdown": 0x40,  # nvmlClocksThrottleReasonHwThermalSlowdown
    "power_brake": 0x80,  # nvmlClocksThrottleReasonHwPowerBrakeSlowdown
}
IDLE = 0x1
SOFTWARE_THERMAL = 0x20


@pytest.mark.parametrize("kind", [FakeNvml, OlderNvml])
@pytest.mark.parametrize("metric", REASONS)
def test_every_reason_for_lower_clocks_is_told_apart(
    kind: type[FakeNvml], metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", kind(reasons=REASONS[metric] | IDLE))
    found = {name: value for gpu, name, value in NvidiaGpus().read() if gpu == "gpu0"}
    assert {name: found[name] for name in REASONS} == {name: float(name == metric) for name in REASONS}


def test_software_slows_down_for_heat_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(reasons=SOFTWARE_THERMAL))
    assert ("gpu0", "thermal_slowdown", 1.0) in NvidiaGpus().read()


@pytest.mark.parametrize(("pids", "foreign"), [((10,), 0.0), ((10, 11, 99), 1.0), ((10, 98, 99), 2.0)])
def test_others_on_the_servers_gpu_are_counted(
    pids: tuple[int, ...], foreign: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(pids=pids))
    found = [(gpu, value) for gpu, metric, value in NvidiaGpus().read({10, 11}) if metric == "foreign_processes"]
    assert found == [("gpu0", foreign)]


@pytest.mark.parametrize("pids", [(), (4711,)])
def test_where_ours_is_not_listed_nobody_is_foreign(pids: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(pids=pids))
    assert "foreign_processes" not in {metric for _, metric, _ in NvidiaGpus().read({10, 11})}


def test_the_servers_own_process_is_not_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(pids=(os.getpid(), 2**22 + 1)))
    with Telemetry(os.getpid(), None, interval_s=0.01) as telemetry:
        found = wait_for(lambda: telemetry.series(0, time.monotonic_ns()), ("gpu0", "foreign_processes"))
    assert set(found["gpu0", "foreign_processes"].values) == {1.0}


def test_energy_is_a_figure_of_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    began = time.monotonic_ns()
    with Telemetry(None, None, interval_s=0.01) as telemetry:
        found = wait_for(lambda: telemetry.series(began, time.monotonic_ns()), ("gpu0", "energy_j"))
    assert found["gpu0", "energy_valid"].values == (1.0,)
    seconds = found["gpu0", "energy_j"].offset_ms[0] / 1000
    # As near to the power as makes it valid; how near is up to when the thread runs.
    assert found["gpu0", "energy_j"].values[0] == pytest.approx(345.6 * seconds, rel=0.3)
    assert not {metric for gpu, metric in found if gpu == "gpu1"} & {"energy_j", "energy_valid"}
    assert "energy_counter_mj" not in {metric for _, metric in found}


def test_gpus_are_a_source_of_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    with Telemetry(None, None, interval_s=0.01) as telemetry:
        found = wait_for(lambda: telemetry.series(0, time.monotonic_ns()), ("gpu1", "temperature_c"))
    assert found["gpu0", "power_w"].values[0] == 345.6
    assert nvml.calls == ["init", "shutdown"]


@pytest.mark.parametrize("module", [None, FakeNvml(fails=True)])
def test_without_a_driver_or_the_package_there_are_no_gpus(
    module: FakeNvml | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    gpus = NvidiaGpus()
    assert gpus.read() == []
    gpus.close()
