"""What Triton and NVML tell: figures where there are any, absent where there are not."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.sources import triton
from loadgen.sources.nvidia import NvidiaGpus
from loadgen.telemetry import Telemetry
from tests.loadgen.test_telemetry import wait_for

# -- Triton's counters

PAGE = """\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{{model="a",version="1"}} {requests}
nv_inference_request_success{{model="warm",version="1"}} 5
# TYPE nv_inference_count counter
nv_inference_count{{model="a",version="1"}} {items}
# TYPE nv_inference_exec_count counter
nv_inference_exec_count{{model="a",version="1"}} {executions}
# TYPE nv_inference_queue_duration_us counter
nv_inference_queue_duration_us{{model="a",version="1"}} {queue_us}
# TYPE nv_inference_compute_input_duration_us counter
nv_inference_compute_input_duration_us{{model="a",version="1"}} 100
# TYPE nv_inference_compute_infer_duration_us counter
nv_inference_compute_infer_duration_us{{model="a",version="1"}} {infer_us}
# TYPE nv_inference_compute_output_duration_us counter
nv_inference_compute_output_duration_us{{model="a",version="1"}} 300
# TYPE nv_cpu_utilization gauge
nv_cpu_utilization 0.4
"""
BEFORE = PAGE.format(requests=10, items=10, executions=10, queue_us=1000, infer_us=7000)
AFTER = PAGE.format(requests=30, items=90, executions=14, queue_us=5000, infer_us=57000)


@pytest.fixture
def publish() -> Iterator[Callable[..., str]]:
    """Serve the given pages one after the other, the last one forever; the URL."""
    servers = []

    def start_server(*pages: str, status: int = 200) -> str:
        left = list(pages)

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = (left.pop(0) if len(left) > 1 else left[0]).encode()
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/metrics"

    yield start_server
    for server in servers:
        server.shutdown()
        server.server_close()


def triton_figures(url: str | None) -> dict[str, float]:
    with Telemetry(None, url) as telemetry:
        pass
    found = [one for one in telemetry.series(1_000_000_000_000, 1_012_500_000_000) if one.metric.startswith("triton_")]
    assert all(one.source == "server" and one.offset_ms == (12_500,) for one in found)
    return {one.metric: one.values[0] for one in found}


def test_tritons_counters_become_figures_of_the_cell(publish: Callable[..., str]) -> None:
    assert triton_figures(publish(BEFORE, AFTER)) == {
        "triton_requests": 20,
        "triton_queue_us_per_request": 200,
        "triton_compute_us_per_request": 2500,
        "triton_batch_size_mean": 20,
    }


def test_no_requests_leave_no_means(publish: Callable[..., str]) -> None:
    assert triton_figures(publish(BEFORE)) == {"triton_requests": 0}


def test_a_server_that_started_anew_has_no_figures(publish: Callable[..., str]) -> None:
    assert triton_figures(publish(AFTER, BEFORE)) == {}


def test_pages_that_are_not_tritons_have_no_figures(publish: Callable[..., str]) -> None:
    assert triton_figures(publish("<html>{not prometheus}")) == {}
    assert triton_figures(publish("# TYPE up gauge\nup 1\n")) == {}
    assert triton_figures(publish(BEFORE, AFTER, status=500)) == {}
    assert triton_figures("http://127.0.0.1:9/metrics") == {}
    assert triton_figures("file:///etc/hostname") == {}


@given(page=st.one_of(st.text(max_size=80), st.text('nv_inferec{}"=,#\\ \n01eE+-.', max_size=80)))
def test_any_page_is_counters_or_a_value_error(page: str) -> None:
    with suppress(ValueError):
        triton.counters(page)


# -- NVML


class NVMLError(Exception):
    pass


class FakeNvml(SimpleNamespace):
    """Two GPUs, the second of which does not tell its power."""

    NVMLError = NVMLError
    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, fails: bool = False) -> None:
        super().__init__(calls=[], fails=fails)

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
        return {self.NVML_CLOCK_SM: 1980}[kind]

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: N802
        return {self.NVML_TEMPERATURE_GPU: 61}[sensor]


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
    gpus.close()
    assert gpus.read() == []
    assert nvml.calls == ["init", "shutdown"]


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
