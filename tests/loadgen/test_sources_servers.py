"""What servers tell of themselves on their Prometheus pages, and nothing where they do not."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.sources import counters, prometheus, triton
from loadgen.telemetry import Telemetry
from nightbench.witness import Served

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
        triton.counters(prometheus.metrics(page))


ENSEMBLE = """\
nv_inference_request_success{model="ensemble",version="1"} 40
nv_inference_request_success{model="step",version="1"} 40
nv_cache_num_hits_per_model{model="ensemble",version="1"} 7
"""


def test_a_model_has_its_own_counters() -> None:
    page = prometheus.metrics(ENSEMBLE)
    assert triton.counters(page)["nv_inference_request_success"] == 80
    assert triton.counters(page, "ensemble") == {"nv_inference_request_success": 40, "nv_cache_num_hits_per_model": 7}
    assert triton.figures({"nv_cache_num_hits_per_model": 2}, triton.counters(page)) == {"triton_cache_hits": 5}


# -- what a server says it served

PAGES = {
    "triton": ENSEMBLE
    + 'nv_inference_request_failure{model="ensemble"} 9\n'
    + 'nv_inference_count{model="ensemble"} 320\n',
    "vllm": 'vllm:request_success_total{finished_reason="stop",model_name="ensemble"} 15\n'
    'vllm:request_success_total{finished_reason="length",model_name="ensemble"} 25\n'
    'vllm:request_success_total{finished_reason="abort",model_name="ensemble"} 3\n',
    "mlserver": "# TYPE model_infer_request_success_total counter\n"
    'model_infer_request_success_total{model="ensemble",version=""} 40\n',
    "openvino": 'ovms_requests_success{interface="gRPC",method="ModelInfer",name="ensemble",version="1"} 40\n'
    'ovms_requests_success{interface="gRPC",method="ModelReady",name="ensemble"} 12\n',
    "tfserving": "# TYPE :tensorflow:serving:request_count counter\n"
    ':tensorflow:serving:request_count{model_name="ensemble",status="OK"} 40\n'
    ':tensorflow:serving:request_count{model_name="ensemble",status="INVALID_ARGUMENT"} 2\n',
    "bentoml": 'bentoml_service_request_total{endpoint="/predict",http_response_code="200"} 40\n'
    'bentoml_service_request_total{endpoint="/predict",http_response_code="500"} 1\n',
    "torchserve": 'ts_inference_requests_total{uuid="u",model_name="ensemble",model_version="1",hostname="h",} 40\n',
    "kserve": "# TYPE request_predict_seconds histogram\n"
    'request_predict_seconds_bucket{le="+Inf",model_name="ensemble"} 40\n'
    'request_predict_seconds_count{model_name="ensemble"} 40\n',
}


@pytest.mark.parametrize("server", PAGES)
def test_every_servers_own_count_of_requests_is_found(server: str) -> None:
    found = counters.requests(prometheus.metrics(PAGES[server]), "ensemble")
    assert list(found.values()) == [40]
    before = dict.fromkeys(found, 10.0)
    assert counters.served(before, found) == Served(30, server in {"torchserve", "kserve"})
    assert counters.served(found, before) is None
    assert counters.served({}, found) is None
    assert counters.served(found, {}) is None


@pytest.mark.parametrize("server", sorted(PAGES.keys() - {"bentoml"}))
def test_another_models_requests_are_not_ours(server: str) -> None:
    assert counters.requests(prometheus.metrics(PAGES[server]), "other") == {}


def test_telemetry_asks_the_server_before_and_after(publish: Callable[..., str]) -> None:
    with Telemetry(None, publish(BEFORE, AFTER), model="a") as telemetry:
        pass
    assert telemetry.served() == Served(20)
    with Telemetry(None, publish("up 1\n"), model="a") as telemetry:
        pass
    assert telemetry.served() is None
