"""The real tritonserver on the toy model: protocols, batching, statistics, metrics, manners."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.request import urlopen

import numpy as np
import psutil
import pytest

from launch.workdir import SHARED_MEMORY
from nightbench.model import Format
from tests.servers.running import Running, Start
from tests.servers.toy import inputs, reference

READY = "/v2/health/ready"


@pytest.fixture(scope="module")
def server(start: Start) -> Running:
    """ONNX with dynamic batching."""
    return start("triton", Format.ONNX, READY, dynamic_batching=True, max_queue_delay_microseconds=20_000)


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest, server: Running) -> Iterator[tuple[ModuleType, Any]]:
    with closing(connect(request.param, server)) as opened:
        yield protocol(request.param), opened


def protocol(name: str) -> ModuleType:
    import tritonclient.grpc
    import tritonclient.http

    return {"http": tritonclient.http, "grpc": tritonclient.grpc}[name]


def connect(name: str, server: Running) -> Any:
    return protocol(name).InferenceServerClient(f"127.0.0.1:{server.port(name)}")


def ask(library: ModuleType, client: Any, batch: int, seed: int = 0) -> None:
    """One good request, and its whole answer compared."""
    image, ids = inputs(batch, seed)
    given = [library.InferInput("image", image.shape, "FP32"), library.InferInput("ids", ids.shape, "INT64")]
    for tensor, array in zip(given, (image, ids), strict=True):
        tensor.set_data_from_numpy(array)
    answer = client.infer("toy", given)
    scores, doubled = reference(image, ids)
    np.testing.assert_allclose(answer.as_numpy("scores"), scores, atol=1e-5)
    np.testing.assert_array_equal(answer.as_numpy("doubled"), doubled)


def test_answers_every_batch_size(client: tuple[ModuleType, Any]) -> None:
    library, connection = client
    assert connection.is_model_ready("toy")
    for batch in (1, 3, 32):
        ask(library, connection, batch, seed=batch)


def test_refuses_what_does_not_fit_and_goes_on(client: tuple[ModuleType, Any]) -> None:
    library, connection = client
    with pytest.raises(Exception, match="batch-size must be <= 32"):
        ask(library, connection, batch=33)
    narrow = library.InferInput("image", [1, 3, 3], "FP32")
    narrow.set_data_from_numpy(np.zeros((1, 3, 3), "<f4"))
    with pytest.raises(Exception, match="expected"):
        connection.infer("toy", [narrow])
    ask(library, connection, batch=2)


def executions(server: Running, batch: int) -> int:
    """How often the model runs for 40 requests of 8 clients."""
    with closing(connect("grpc", server)) as asked:
        before = asked.get_inference_statistics("toy").model_stats[0]

        def run(seed: int) -> None:
            with closing(connect("grpc", server)) as own:
                for turn in range(5):
                    ask(protocol("grpc"), own, batch, seed=10 * seed + turn)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(run, range(8)))
        # Triton answers first and counts then.
        for _ in range(100):
            after = asked.get_inference_statistics("toy").model_stats[0]
            if after.inference_count - before.inference_count >= 40 * batch:
                break
            time.sleep(0.05)
    assert after.inference_count - before.inference_count == 40 * batch
    return int(after.execution_count - before.execution_count)


def test_joins_concurrent_requests_and_gives_each_its_own_answer(server: Running) -> None:
    assert executions(server, batch=1) < 40


def test_publishes_its_counters(server: Running) -> None:
    with urlopen(f"http://127.0.0.1:{server.port('metrics')}/metrics", timeout=5) as page:
        text = page.read().decode()
    for name in ("nv_inference_request_success", "nv_inference_queue_duration_us", "nv_inference_exec_count"):
        assert f'{name}{{model="toy"' in text


def test_listens_on_loopback_only_and_marks_its_shared_memory(server: Running) -> None:
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in server.tree()
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    mapped = {
        Path(region.path).name
        for process in server.tree()
        for region in process.memory_maps()
        if Path(region.path).parent == SHARED_MEMORY
    }
    assert mapped
    assert all(name.startswith(f"{server.request.workdir.name}_") for name in mapped)


def test_torchscript_without_dynamic_batching_runs_every_request_alone(start: Start) -> None:
    server = start("triton", Format.TORCHSCRIPT, READY, max_queue_size=64)
    assert executions(server, batch=1) == 40
    assert executions(server, batch=4) == 40
    assert int(server.request.load_time_path.read_text()) > 0
