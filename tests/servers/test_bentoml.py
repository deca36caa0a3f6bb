"""What is special about BentoML: its command line, its adaptive batching, and what it tells of itself."""

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from socket import create_connection
from urllib.request import urlopen

import numpy as np
import pytest

from nightbench.model import Format
from servers import discover
from tests.servers.running import Running, Start
from tests.servers.test_commands import request
from tests.servers.toy import inputs, reference

CLIENTS = 8


def ask(connection: HTTPConnection, batch: int, seed: int) -> None:
    """One request, and its whole answer compared."""
    image, ids = inputs(batch, seed)
    headers = {"Content-Type": "application/octet-stream", "X-Batch": str(batch)}
    connection.request("POST", "/v1/predict", image.tobytes() + ids.tobytes(), headers)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body
    scores, doubled = reference(image, ids)
    np.testing.assert_allclose(np.frombuffer(body, "<f4", batch * 5).reshape(batch, 5), scores, atol=1e-5)
    np.testing.assert_array_equal(np.frombuffer(body, "<i8", -1, scores.nbytes).reshape(batch, 3), doubled)


def ask_together(server: Running, batches: tuple[int, ...], turns: int = 20) -> None:
    def client(seed: int) -> None:
        with closing(HTTPConnection("127.0.0.1", server.port(), timeout=30)) as own:
            for turn in range(turns):
                ask(own, batches[(seed + turn) % len(batches)], seed=turns * seed + turn)

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))


def metric(server: Running, name: str, *labels: str) -> float:
    """The sum of all samples of one name that have all these labels."""
    with urlopen(f"http://127.0.0.1:{server.port()}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    samples = re.findall(rf"^{name}{{([^}}]*)}} (\S+)$", text, re.MULTILINE)
    return sum(float(value) for found, value in samples if all(label in found for label in labels))


@pytest.fixture(scope="module")
def batching(start: Start) -> Running:
    return start("bentoml", Format.TORCHSCRIPT, batchable=True, max_batch_size=4)


def test_runs_isolated_silent_and_with_all_its_files_in_the_working_directory(tmp_path: Path) -> None:
    asked = request(tmp_path, "bentoml", batchable=True, max_latency_ms=50)
    command = discover()["bentoml"].command(asked)
    assert command.argv[:6] == (str(asked.python), "-I", "-u", "-m", "bentoml", "serve")
    given = dict(pairwise(command.argv))
    assert (given["--host"], given["--port"]) == ("127.0.0.1", "20000")
    source = Path(given["--working-dir"])
    assert (source / "serve.py").is_file()
    assert source.is_relative_to(tmp_path)
    arguments = dict(value.split("=", 1) for name, value in pairwise(command.argv) if name == "--arg")
    assert arguments["artifact"] == "/models/toy.onnx"
    assert arguments["model_threads"] == command.env["OMP_NUM_THREADS"] == "2"
    assert (arguments["batchable"], arguments["max_batch_size"], arguments["max_latency_ms"]) == ("True", "32", "50")
    assert command.env["BENTOML_DO_NOT_TRACK"] == "True"
    assert Path(command.env["TMPDIR"]) == tmp_path
    assert Path(command.env["BENTOML_HOME"]).is_relative_to(tmp_path)


def test_batching_joins_concurrent_requests_and_mixes_no_answers(batching: Running) -> None:
    name = "bentoml_service_adaptive_batch_size"
    for _ in range(20):  # its dispatcher learns from the first requests, one at a time
        ask_together(batching, batches=(1, 2, 3))
        calls, requests = metric(batching, f"{name}_count"), metric(batching, f"{name}_sum")
        if requests > calls:
            break
    assert requests > calls > 0


def test_a_request_above_the_largest_batch_is_split_and_put_together_again(batching: Running) -> None:
    ask_together(batching, batches=(11, 4, 1), turns=5)


def test_a_client_that_leaves_in_the_middle_of_its_body_hurts_nobody(batching: Running) -> None:
    with create_connection(("127.0.0.1", batching.port()), timeout=5) as leaver:
        head = "POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nX-Batch: 1\r\n"
        leaver.sendall(f"{head}Content-Length: 72\r\n\r\nhalf".encode())
    ask_together(batching, batches=(1,), turns=1)


def test_without_batching_every_request_is_a_call_and_metrics_count_it(start: Start) -> None:
    server = start("bentoml", Format.TORCHSCRIPT, workers=2)
    ask_together(server, batches=(1, 3), turns=5)
    with closing(HTTPConnection("127.0.0.1", server.port(), timeout=5)) as connection:
        connection.request("POST", "/v1/predict", b"")
        assert connection.getresponse().status == 400
    total, endpoint = "bentoml_service_request_total", 'endpoint="/v1/predict"'
    assert metric(server, total, endpoint, 'http_response_code="200"') == CLIENTS * 5
    assert metric(server, total, endpoint, 'http_response_code="400"') == 1
    assert metric(server, "bentoml_service_adaptive_batch_size_count") == 0
