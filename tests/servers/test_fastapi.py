"""FastAPI with micro-batching on, for real: what concurrent requests share, and what they do not."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection

import pytest

from nightbench.model import Format
from tests.servers.raw import BINARY, ITEM_BYTES, ask, counter
from tests.servers.running import Running, Start


@pytest.fixture(scope="module")
def server(start: Start) -> Running:
    return start("fastapi", Format.TORCHSCRIPT, max_batch_size=16, batch_timeout_ms=20.0)


def test_joins_concurrent_requests_and_gives_each_its_own_answer(server: Running) -> None:
    names = ("predict_requests_total", "predict_inferences_total", "predict_executions_total")
    before = [counter(server.port(), name) for name in names]

    def client(seed: int) -> int:
        batch = 1 + seed % 3
        with closing(HTTPConnection("127.0.0.1", server.port(), timeout=10)) as own:
            for turn in range(10):
                ask(own, batch, seed=100 * seed + turn)
        return 10 * batch

    with ThreadPoolExecutor(8) as pool:
        rows = sum(pool.map(client, range(8)))
    requests, inferences, executions = (
        counter(server.port(), name) - old for name, old in zip(names, before, strict=True)
    )
    assert (requests, inferences) == (80, rows)
    assert executions < 80


def test_a_request_above_the_limit_is_answered_whole(server: Running) -> None:
    with closing(HTTPConnection("127.0.0.1", server.port(), timeout=10)) as own:
        ask(own, batch=40)


def test_who_hangs_up_spoils_nothing(server: Running) -> None:
    headers = {"Content-Type": BINARY, "X-Batch": "1", "Content-Length": str(ITEM_BYTES)}
    for _ in range(5):
        with closing(HTTPConnection("127.0.0.1", server.port(), timeout=10)) as gone:
            gone.request("POST", "/v1/predict", bytes(ITEM_BYTES), headers)
        with closing(HTTPConnection("127.0.0.1", server.port(), timeout=10)) as own:
            ask(own, batch=2)
    assert server.log.read_text() == ""
