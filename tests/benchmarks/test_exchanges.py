"""Captured requests and answers are matched whole, however they were cut into segments and mixed on the wire."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.truth.exchanges import exchanges
from benchmarks.truth.pcap import read
from tests.benchmarks.frames import SERVER_PORT, Segment, capture

_CLIENT_PORT = 40_000
_MTU = 50


@dataclass(frozen=True, slots=True)
class Turn:
    """A request and its answer: gaps before each segment, in ns, and what the kernel sent twice."""

    request_gaps: list[int]
    answer_gaps: list[int]
    verb: bytes
    again: bool


_GAPS = st.lists(st.integers(1, 10**6), min_size=1, max_size=4)
_TURNS = st.lists(
    st.builds(Turn, _GAPS, _GAPS, st.sampled_from((b"POST", b"POST", b"GET ")), st.booleans()), min_size=1, max_size=6
)
_CONNECTIONS = st.lists(st.tuples(_TURNS, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), max_size=4)


def _side(source: int, target: int, sequence: int, now_ns: int, gaps: list[int], first: bytes) -> Iterator[Segment]:
    for number, gap in enumerate(gaps):
        now_ns += gap
        payload = (first if number == 0 else b"....") + bytes(_MTU - 4)
        yield Segment(now_ns, source, target, sequence + number * _MTU, payload)


def _connection(port: int, turns: list[Turn], asks: int, answers: int) -> tuple[list[Segment], list[tuple[int, int]]]:
    """Its segments, and when each POST and its answer were complete."""
    segments = [
        Segment(0, port, SERVER_PORT, asks - 1, syn=True),
        Segment(0, SERVER_PORT, port, answers - 1, syn=True),
    ]
    truth, now_ns = [], 0
    for turn in turns:
        request = list(_side(port, SERVER_PORT, asks, now_ns, turn.request_gaps, turn.verb))
        answer = list(_side(SERVER_PORT, port, answers, request[-1].at_ns, turn.answer_gaps, b"HTTP"))
        asks, answers, now_ns = asks + _MTU * len(request), answers + _MTU * len(answer), answer[-1].at_ns
        segments += [*request, *answer]
        if turn.again:
            # After its answer, as a lost acknowledgement would have it.
            segments.append(Segment(now_ns + 1, port, SERVER_PORT, request[-1].sequence, request[-1].payload))
            now_ns += 1
        if turn.verb == b"POST":
            truth.append((request[-1].at_ns, answer[-1].at_ns))
    return segments, truth


@given(_CONNECTIONS)
def test_every_answered_post_is_timed_from_last_byte_to_last_byte(
    connections: list[tuple[list[Turn], int, int]],
) -> None:
    segments: list[Segment] = []
    truth: list[tuple[int, int]] = []
    for number, (turns, asks, answers) in enumerate(connections):
        sent, pairs = _connection(_CLIENT_PORT + number, turns, asks, answers)
        segments, truth = segments + sent, truth + pairs
    segments.sort(key=lambda segment: segment.at_ns)
    found = exchanges(read(capture(segments)), SERVER_PORT)
    assert sorted(zip(found.request_ns.tolist(), found.response_ns.tolist(), strict=True)) == sorted(truth)


@given(_TURNS)
def test_a_request_without_an_answer_is_no_exchange(turns: list[Turn]) -> None:
    segments, truth = _connection(_CLIENT_PORT, turns, 1, 1)
    last = segments[-1].at_ns
    sequence = 1 + sum(_MTU * len(turn.request_gaps) for turn in turns)
    segments += _side(_CLIENT_PORT, SERVER_PORT, sequence, last, [1], b"POST")
    found = exchanges(read(capture(segments)), SERVER_PORT)
    assert found.request_ns.tolist() == [request for request, _ in truth]


@given(_TURNS)
def test_another_server_on_the_wire_is_left_out(turns: list[Turn]) -> None:
    segments, _ = _connection(_CLIENT_PORT, turns, 1, 1)
    assert all(a.at_ns <= b.at_ns for a, b in pairwise(segments))
    assert not len(exchanges(read(capture(segments)), SERVER_PORT + 1).service_ns)
