"""Every raw-HTTP baseline, for real: right answers, clear refusals, and a connection that survives both."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection

import numpy as np
import psutil
import pytest

from nightbench.server import Protocol
from servers import discover
from tests.servers.running import Running, Start, status
from tests.servers.toy import inputs, reference

BASELINES = sorted(name for name, spec in discover().items() if Protocol.RAW_HTTP in spec.protocols)
BINARY = "application/octet-stream"
ITEM_BYTES = 12 * 4 + 3 * 8


@pytest.fixture(scope="module", params=BASELINES)
def server(request: pytest.FixtureRequest, start: Start) -> Running:
    return start(request.param, discover()[request.param].formats[0])


@pytest.fixture
def connection(server: Running) -> Iterator[HTTPConnection]:
    with closing(HTTPConnection("127.0.0.1", server.port(), timeout=10)) as opened:
        yield opened


def post(connection: HTTPConnection, body: bytes, **headers: str) -> tuple[int, bytes]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/v1/predict", body, sent)
    answer = connection.getresponse()
    return answer.status, answer.read()


def ask(connection: HTTPConnection, batch: int, seed: int = 0) -> None:
    """One good request, and its whole answer compared."""
    image, ids = inputs(batch, seed)
    code, body = post(connection, image.tobytes() + ids.tobytes(), Content_Type=BINARY, X_Batch=str(batch))
    assert code == 200, body
    scores, doubled = reference(image, ids)
    assert len(body) == scores.nbytes + doubled.nbytes
    got = np.frombuffer(body, "<f4", batch * 5).reshape(batch, 5)
    np.testing.assert_allclose(got, scores, atol=1e-5)
    np.testing.assert_array_equal(np.frombuffer(body, "<i8", batch * 3, scores.nbytes).reshape(batch, 3), doubled)


def test_answers_every_batch_size_on_one_connection(connection: HTTPConnection) -> None:
    ask(connection, 1)
    socket = connection.sock
    for batch in (3, 32, 1):
        ask(connection, batch, seed=batch)
    assert connection.sock is socket


@pytest.mark.parametrize(
    ("headers", "items", "said"),
    [
        ({"Content_Type": BINARY}, 2, "X-Batch is ''"),
        ({"Content_Type": BINARY, "X_Batch": "two"}, 2, "X-Batch is 'two'"),
        ({"Content_Type": BINARY, "X_Batch": "0"}, 0, "X-Batch is '0'"),
        ({"Content_Type": BINARY, "X_Batch": "-2"}, 2, "X-Batch is '-2'"),
        ({"Content_Type": BINARY, "X_Batch": "9" * 30}, 2, "X-Batch is '999"),
        ({"Content_Type": BINARY, "X_Batch": "3"}, 2, f"Content-Length is {2 * ITEM_BYTES}"),
        ({"Content_Type": BINARY, "X_Batch": "1"}, 100_000, f"Content-Length is {100_000 * ITEM_BYTES}"),
        ({"Content_Type": "application/json", "X_Batch": "2"}, 2, "Content-Type is 'application/json'"),
    ],
)
def test_refuses_what_does_not_fit_in_one_sentence_and_goes_on(
    connection: HTTPConnection, headers: dict[str, str], items: int, said: str
) -> None:
    code, body = post(connection, bytes(items * ITEM_BYTES), **headers)
    assert code == 400
    assert body.decode().startswith(said)
    assert "\n" not in body.decode()
    ask(connection, 2)


def test_concurrent_clients_each_get_their_own_answer(server: Running) -> None:
    def client(seed: int) -> None:
        with closing(HTTPConnection("127.0.0.1", server.port(), timeout=10)) as own:
            for turn in range(20):
                ask(own, batch=1 + seed % 3, seed=100 * seed + turn)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client, range(8)))


def test_tells_health_and_how_long_the_model_took_to_load(server: Running) -> None:
    assert status(server.port(), "/healthz") == 200
    assert int(server.request.load_time_path.read_text()) > 0


def test_listens_on_loopback_only(server: Running) -> None:
    listening = {
        connection.laddr.ip
        for process in server.tree()
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_says_nothing_while_it_serves(server: Running) -> None:
    assert server.log.read_text() == ""
