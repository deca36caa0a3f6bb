"""The HTTP/1.1 wire: any split of a valid answer means the same, anything hostile has a name and an end."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadgen.wire.base import Reply
from loadgen.wire.http1 import Http1, request_bytes
from nightbench.samples import Outcome


def started() -> Http1:
    wire = Http1()
    wire.begin(b"request")
    assert wire.output() == (b"request",)
    assert wire.output() == ()
    return wire


def feed_all(wire: Http1, parts: list[bytes], *, then_end: bool = False) -> Reply | None:
    """The first reply; empty parts are left out, as a socket never delivers them."""
    for part in parts:
        if part and (reply := wire.feed(part)) is not None:
            return reply
    return wire.end() if then_end else None


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(point % (len(data) + 1) for point in at), len(data)]
    return [data[low:high] for low, high in pairwise(edges)]


def chunked(parts: list[bytes], trailers: str = "") -> bytes:
    body = b"".join(b"%x;note=1\r\n%s\r\n" % (len(part), part) for part in parts if part)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + body + b"0\r\n" + trailers.encode() + b"\r\n"


def sized(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}content-LENGTH:{len(body)}\r\n\r\n".encode() + body


POINTS = st.lists(st.integers(0, 10_000), max_size=8)


@given(body=st.binary(max_size=300), at=POINTS, interim=st.booleans(), keep=st.booleans())
def test_any_split_of_a_sized_answer_is_the_same_answer(body: bytes, at: list[int], interim: bool, keep: bool) -> None:
    data = sized(body, headers="" if keep else "Connection: close\r\n")
    if interim:
        data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + data
    wire = started()
    assert feed_all(wire, cut(data, at)) == Reply(Outcome.OK, body)
    assert wire.reusable is keep


@given(parts=st.lists(st.binary(max_size=80), max_size=6), at=POINTS, trailers=st.sampled_from(["", "A: b\r\n"]))
def test_any_split_of_a_chunked_answer_is_the_same_answer(parts: list[bytes], at: list[int], trailers: str) -> None:
    wire = started()
    assert feed_all(wire, cut(chunked(parts, trailers), at)) == Reply(Outcome.OK, b"".join(parts))
    assert wire.reusable


@given(body=st.binary(max_size=200), at=POINTS)
def test_an_answer_may_end_with_the_connection(body: bytes, at: list[int]) -> None:
    wire = started()
    data = b"HTTP/1.1 200 OK\r\nServer: old\r\n\r\n" + body
    assert feed_all(wire, cut(data, at), then_end=True) == Reply(Outcome.OK, body)
    assert not wire.reusable


def test_one_connection_carries_many_requests() -> None:
    wire = Http1()
    for number in range(50):
        wire.begin(b"%d" % number)
        assert wire.feed(sized(b"%d" % number, headers=f"Date: {number // 10}\r\n")) == Reply(
            Outcome.OK, b"%d" % number
        )
        assert wire.reusable


def test_an_answer_begins_with_its_first_byte() -> None:
    wire = started()
    assert not wire.answering
    wire.feed(b"H")
    assert wire.answering
    wire.feed(sized(b"one")[1:])
    assert wire.answering
    wire.begin(b"again")
    assert not wire.answering


@pytest.mark.parametrize(
    ("data", "outcome", "detail"),
    [
        (sized(b"no such model", "404 Not Found"), Outcome.HTTP_4XX, "404 Not Found: no such model"),
        (sized(b"", "503 Busy"), Outcome.HTTP_503, "503 Busy"),
        (sized(b"\xff", "500"), Outcome.HTTP_5XX, "500: \ufffd"),
        (sized(b"", "301 Moved"), Outcome.PROTOCOL_ERROR, "unexpected answer 301 Moved"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Outcome.OK, ""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", Outcome.PROTOCOL_ERROR, "304"),
    ],
)
def test_a_status_decides_the_outcome(data: bytes, outcome: Outcome, detail: str) -> None:
    wire = started()
    reply = wire.feed(data)
    assert reply is not None
    assert reply.outcome is outcome
    assert detail in reply.detail
    assert wire.reusable


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n",
        b"HTTP/1.1 99 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 9,
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n Folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
    ],
)
def test_what_is_not_http_is_a_protocol_error_however_it_arrives(data: bytes) -> None:
    for parts in ([data], [data[i : i + 1000] for i in range(0, len(data), 1000)], cut(data, [3, 17, 40])):
        wire = started()
        reply = feed_all(wire, parts)
        assert reply is not None
        assert reply.outcome is Outcome.PROTOCOL_ERROR
        assert reply.detail
        assert not wire.reusable


VALID = st.one_of(st.binary(max_size=60).map(sized), st.lists(st.binary(max_size=30), max_size=3).map(chunked))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid answer with some bytes replaced, removed or inserted."""
    data = bytearray(draw(VALID))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(data)


@given(data=st.one_of(st.binary(max_size=400), damaged()), at=POINTS)
@example(data=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", at=[])
def test_hostile_bytes_end_in_a_named_outcome(data: bytes, at: list[int]) -> None:
    wire = started()
    reply = feed_all(wire, cut(data, at), then_end=True)
    assert reply is not None
    assert reply.outcome in {
        Outcome.OK,
        Outcome.HTTP_429,
        Outcome.HTTP_4XX,
        Outcome.HTTP_503,
        Outcome.HTTP_5XX,
        Outcome.PROTOCOL_ERROR,
        Outcome.RESET,
    }
    assert wire.feed(data) is None, "nothing is in flight any more"


@given(data=VALID, at=st.integers(0, 10_000))
def test_an_answer_cut_short_is_a_reset(data: bytes, at: int) -> None:
    wire = started()
    assert wire.feed(data[: at % len(data)]) is None
    assert wire.end().outcome is Outcome.RESET


def test_bytes_nobody_asked_for_end_the_connection_not_the_answer() -> None:
    wire = started()
    assert wire.feed(sized(b"fine") + b"more") == Reply(Outcome.OK, b"fine")
    assert not wire.reusable
    wire = started()
    wire.feed(sized(b"fine"))
    assert wire.feed(b"more") is None
    assert not wire.reusable


def test_large_bodies_are_not_copied_over_and_over() -> None:
    # A parser that copies what it holds at every step would move hundreds of gigabytes here.
    body = bytes(64 * 2**20)
    data = sized(body)
    assert feed_all(started(), [data[i : i + 8192] for i in range(0, len(data), 8192)]) == Reply(Outcome.OK, body)
    assert feed_all(started(), [chunked([b"0123456789"] * 100_000)]) == Reply(Outcome.OK, b"0123456789" * 100_000)


def test_a_request_is_one_run_of_bytes() -> None:
    got = request_bytes("/v2/models/a b/infer", "::1", 80, {"X-Batch": "2"}, b"body")
    assert got == (
        b"POST /v2/models/a%20b/infer HTTP/1.1\r\nHost: [::1]:80\r\nX-Batch: 2\r\nContent-Length: 4\r\n\r\nbody"
    )


ANSWERS = st.one_of(
    st.builds(lambda n, c: sized(bytes([c]) * n), st.sampled_from([0, 1, 7, 8]), st.integers(0, 255)),
    st.just(sized(b"1234567", "503 Busy")),
    st.just(sized(b"1234567", headers="Connection: close\r\n")),
    st.just(sized(b"1234567") + b"more"),
    st.just(chunked([b"one", b"two"])),
    st.just(b"HTTP/1.1 204 No Content\r\n\r\n"),
    st.just(b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"1234567")),
    st.just(sized(b"1234567").replace(b"\r\n\r\n", b"\r\n\r\r", 1)),
)


@given(answers=st.lists(st.tuples(ANSWERS, POINTS), min_size=1, max_size=8))
def test_an_answer_means_the_same_whatever_came_before_it(answers: list[tuple[bytes, list[int]]]) -> None:
    warm = Http1()
    for data, at in answers:
        if not warm.reusable:
            warm = Http1()
        cold = Http1()
        for wire in (warm, cold):
            wire.begin(b"request")
            assert not wire.reusable
        parts = cut(data, at)
        assert feed_all(warm, parts) == feed_all(cold, parts)
        assert (warm.reusable, warm.answering) == (cold.reusable, cold.answering)
        if not warm.reusable:
            assert warm.end().outcome is cold.end().outcome
