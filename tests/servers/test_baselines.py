"""The raw-HTTP baselines, for real: right answers, clear refusals, and a connection that survives both."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection

import psutil
import pytest

from servers import discover
from tests.servers.raw import BINARY, ITEM_BYTES, ask, post
from tests.servers.running import Running, Start, status

# Others speak raw HTTP too; tests/conformance has the same questions for every server, and their heavy environments.
BASELINES = ("fastapi", "flask", "onnxruntime")


@pytest.fixture(scope="module", params=BASELINES)
def server(request: pytest.FixtureRequest, start: Start) -> Running:
    return start(request.param, discover()[request.param].formats[0])


@pytest.fixture
def connection(server: Running) -> Iterator[HTTPConnection]:
    with closing(HTTPConnection("127.0.0.1", server.port(), timeout=10)) as opened:
        yield opened


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
