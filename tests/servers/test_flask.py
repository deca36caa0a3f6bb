"""gunicorn's own options, for real."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection

from nightbench.model import Format
from tests.servers.raw import ask
from tests.servers.running import Start


def test_workers_and_threads_each_answer_their_own_requests(start: Start) -> None:
    server = start("flask", Format.TORCHSCRIPT, workers=2, threads=3)
    arbiter, *workers = server.tree()
    assert len(workers) == 2
    assert all(worker.parent() == arbiter for worker in workers)

    def client(seed: int) -> None:
        with closing(HTTPConnection("127.0.0.1", server.port(), timeout=10)) as own:
            for turn in range(10):
                ask(own, 1 + seed % 3, seed=100 * seed + turn)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(client, range(6)))
    assert server.log.read_text() == ""
