"""A client of the raw-HTTP baselines that compares whole answers."""

from contextlib import closing
from http.client import HTTPConnection
from urllib.request import urlopen

import numpy as np

from tests.servers.toy import inputs, reference

__all__ = ["BINARY", "ITEM_BYTES", "ask", "counter", "post"]

BINARY = "application/octet-stream"
ITEM_BYTES = 12 * 4 + 3 * 8


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


def counter(port: int, name: str) -> int:
    """One line of a Prometheus page."""
    with closing(urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5)) as page:
        lines = dict(line.rsplit(" ", 1) for line in page.read().decode().splitlines() if not line.startswith("#"))
    return int(lines[name])
