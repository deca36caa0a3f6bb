"""What is special about LitServe: its batching hooks, the places it writes to, and how it is stopped."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from socket import create_connection
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import numpy as np
import pytest

from nightbench.model import Format
from servers import discover
from tests.servers.running import Running, Start
from tests.servers.test_commands import flags, request
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


def ask_together(server: Running, turns: int = 10) -> tuple[int, int]:
    """Have some clients ask at once; how many batch items the server counted meanwhile, in how many calls."""

    def client(seed: int) -> None:
        with closing(HTTPConnection("127.0.0.1", server.port(), timeout=30)) as own:
            for turn in range(turns):
                ask(own, 1 + (seed + turn) % 2, seed=turns * seed + turn)

    before = counted(server)
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    after = counted(server)
    return after[0] - before[0], after[1] - before[1]


def counted(server: Running) -> tuple[int, int]:
    with urlopen(f"http://127.0.0.1:{server.port()}/metrics", timeout=5) as answer:
        found = dict(line.split() for line in answer.read().decode().splitlines() if not line.startswith("#"))
    return int(found["predict_inferences_total"]), int(found["predict_executions_total"])


@pytest.fixture(scope="module")
def batching(start: Start) -> Running:
    return start("litserve", Format.TORCHSCRIPT, max_batch_size=4, batch_timeout=0.05)


def test_options_reach_litserve_and_it_is_stopped_by_the_signal_it_handles(tmp_path: Path) -> None:
    spec = discover()["litserve"]
    command = spec.command(request(tmp_path, "litserve", max_batch_size=8, batch_timeout=0.01, workers_per_device=2))
    given = flags(command.argv)
    assert (given["--max-batch-size"], given["--batch-timeout"], given["--workers-per-device"]) == ("8", "0.01", "2")
    assert given["--threads"] == command.env["OMP_NUM_THREADS"] == "2"
    assert spec.stop.signal == "SIGINT"


@pytest.mark.parametrize(("length", "fits"), [(75, True), (76, False)])
def test_its_sockets_lie_in_the_working_directory_unless_their_path_gets_too_long(length: int, fits: bool) -> None:
    with TemporaryDirectory() as base:
        workdir = Path(base) / ("w" * (length - len(base) - 1))
        workdir.mkdir()
        command = discover()["litserve"].command(request(workdir, "litserve"))
    assert command.env.get("TMPDIR") == (str(workdir) if fits else None)


def test_batching_joins_concurrent_requests_and_mixes_no_answers(batching: Running) -> None:
    items, calls = ask_together(batching)
    assert items == CLIENTS * 10 * 3 // 2
    assert CLIENTS * 10 // 4 <= calls < CLIENTS * 10


def test_a_client_that_leaves_in_the_middle_of_its_body_hurts_nobody(batching: Running) -> None:
    with create_connection(("127.0.0.1", batching.port()), timeout=5) as leaver:
        head = "POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nX-Batch: 1\r\n"
        leaver.sendall(f"{head}Content-Length: 72\r\n\r\nhalf".encode())
    ask_together(batching, turns=1)


def test_several_workers_without_batching_join_nothing_and_all_end(start: Start) -> None:
    server = start("litserve", Format.TORCHSCRIPT, workers_per_device=2)
    assert ask_together(server) == (CLIENTS * 10 * 3 // 2, CLIENTS * 10)


def test_it_writes_nothing_where_it_was_started(batching: Running) -> None:
    assert not Path("client.py").exists()
    assert batching.log.read_text() == ""
