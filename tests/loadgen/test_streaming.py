"""Answers that come in parts: every part leaves a mark where and when it was read."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from loadgen.engine import run
from loadgen.job import Job
from loadgen.protocols import codec_for
from loadgen.wire.base import Reply
from loadgen.wire.http1 import Http1
from nightbench.load import Arrival, ClosedLoop, EndedBy, OpenLoop
from nightbench.samples import Marks, Samples

from .conftest import HANG, RESET, http, right

JobMaker = Callable[..., Job]


class Parts(Http1):
    """Every byte ``!`` ends a part; the answer says as many tokens as its last byte."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = 0
        self.tokens = -1

    def feed(self, data: bytes) -> Reply | None:
        self.parts = data.count(b"!")
        reply = super().feed(data)
        self.tokens = reply.body[-1] if reply and reply.body else -1
        return reply


class Streamed:
    """A codec of such answers, over what another codec sends."""

    streaming = True

    def __init__(self, other: object) -> None:
        self.closed = 0
        self._other = other

    def __getattr__(self, name: str) -> object:
        return getattr(self._other, name)

    def wire(self) -> Parts:
        return Parts()

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def codecs(monkeypatch: pytest.MonkeyPatch) -> list[Streamed]:
    made: list[Streamed] = []

    def make(*args: object) -> Streamed:
        made.append(Streamed(codec_for(*args)))  # type: ignore[arg-type]  # passed through
        return made[-1]

    monkeypatch.setattr("loadgen.engine.codec_for", make)
    return made


def measured(job: Job) -> tuple[Samples, Marks]:
    result = run(job)
    assert result.error is None
    samples, marks = Samples.load(job.samples), Marks.load(job.samples)
    assert marks is not None
    assert len(marks.tokens) == len(samples)
    assert (np.diff(marks.at_ns) >= 0).all()
    assert (marks.at_ns >= samples.first_byte_ns[marks.row]).all()
    assert (marks.at_ns <= samples.done_ns[marks.row]).all()
    return samples, marks


def test_every_part_is_marked_with_its_row_and_the_tokens_are_kept(serve, job: JobMaker, codecs) -> None:
    server = serve(lambda number, _body: http(b"!" * (number % 3) + b"." + bytes([number])))
    samples, marks = measured(job(server.port, load=ClosedLoop(1), max_requests=9, verify_every=0))
    assert np.bincount(marks.row, marks.parts, minlength=9).tolist() == [number % 3 for number in range(9)]
    assert marks.tokens.tolist() == list(range(9))
    assert samples.ok.all()
    assert [codec.closed for codec in codecs] == [1]


def test_parts_that_come_apart_are_marked_apart(serve, job: JobMaker, codecs) -> None:
    def dribble(_number: int, _body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n!!"

    server = serve(dribble)
    act = server._act

    def in_two(sock, action) -> bool:
        act(sock, action)
        time.sleep(0.02)
        return act(sock, b"!\x05")

    server._act = in_two
    samples, marks = measured(job(server.port, load=ClosedLoop(1), max_requests=2, verify_every=0))
    assert marks.row.tolist() == [0, 0, 1, 1]
    assert marks.parts.tolist() == [2, 1, 2, 1]
    assert (marks.at_ns[::2] == samples.first_byte_ns).all()
    assert (marks.at_ns[1::2] == samples.done_ns).all()
    assert marks.tokens.tolist() == [5, 5]


def test_answers_that_break_off_keep_the_marks_they_left(serve, job: JobMaker, codecs) -> None:
    def behave(number: int, _body: bytes) -> bytes | str:
        whole = http(b"!\x07")
        return {0: whole, 1: RESET, 2: HANG, 3: whole[:-1]}.get(number, whole)

    server = serve(behave)
    samples, marks = measured(
        job(server.port, load=OpenLoop(20.0, Arrival.CONSTANT), duration_s=0.25, timeout_s=0.5, verify_every=0)
    )
    assert sorted(np.bincount(marks.row, minlength=5).tolist()) == [0, 0, 1, 1, 1]
    assert sorted(marks.tokens.tolist()) == [-1, -1, -1, 7, 7]
    assert np.count_nonzero(samples.ok) == 2


def test_a_run_that_runs_out_of_marks_ends_and_says_so(serve, job: JobMaker, codecs, monkeypatch) -> None:
    monkeypatch.setattr("loadgen.schedule.MOST_MARKS", 4096 + 30)
    one = job(serve(lambda _n, _b: http(b"!.")).port, duration_s=60.0, verify_every=0)
    result = run(one)
    assert result.ended_by is EndedBy.ROWS
    marks = Marks.load(one.samples)
    assert marks is not None
    assert len(marks.row) == result.requests >= 30


def test_what_is_not_streamed_has_no_marks(serve, job: JobMaker) -> None:
    one = job(serve().port, max_requests=2)
    run(one)
    assert Marks.load(one.samples) is None


def test_a_codec_is_closed_even_if_the_run_cannot_begin(job: JobMaker, codecs, serve, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("loadgen.engine.begin", refuse)
    with pytest.raises(RuntimeError):
        run(job(serve(right).port))
    assert [codec.closed for codec in codecs] == [1]
