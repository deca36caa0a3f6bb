"""The null server's HTTP/1.1: as many answers as requests, each once its request is in."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.null.http1 import Http1Side
from loadgen.null.side import Nonsense
from loadgen.wire.http1 import request_bytes

ANSWER = (b"head", b"tail")


def post(body: bytes) -> bytes:
    return request_bytes("/v1/predict", "127.0.0.1", 80, {"X-Batch": "1"}, body)


@given(
    bodies=st.lists(st.binary(max_size=40), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 800), max_size=12),
    unseen=st.booleans(),
)
def test_every_request_is_answered_once_it_is_whole(bodies: list[bytes], cuts: list[int], unseen: bool) -> None:
    """However the bytes come, and whether or not those that mean nothing are thrown away unseen."""
    side = Http1Side(ANSWER)
    sent = b"".join(map(post, bodies))
    ends = [len(b"".join(map(post, bodies[: count + 1]))) for count in range(len(bodies))]
    answers = 0
    edges = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    for start, end in pairwise(edges):
        answers += len(fed(side, sent[start:end], unseen=unseen)) // len(ANSWER)
        assert answers == sum(each <= end for each in ends)


def fed(side: Http1Side, data: bytes, *, unseen: bool) -> Sequence[bytes]:
    if unseen and side.skip:
        thrown = min(side.skip, len(data))
        side.skip -= thrown
        if side.skip:
            return ()
        data = data[thrown:]
    return side.feed(data)


def test_bodies_of_changing_length_are_told_apart() -> None:
    side = Http1Side(ANSWER)
    for size in (3, 100, 3, 0, 100):
        assert tuple(side.feed(post(bytes(size)))) == ANSWER
    assert side.feed(post(bytes(100))[:-1]) == []
    assert side.skip == 1
    assert side.feed(b"\0") == list(ANSWER)


def test_a_request_without_a_body_is_answered() -> None:
    assert Http1Side(ANSWER).feed(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n") == list(ANSWER)


def test_a_head_that_never_ends_is_no_request() -> None:
    side = Http1Side(ANSWER)
    with pytest.raises(Nonsense, match="head of more than"):
        side.feed(bytes(70_000))
