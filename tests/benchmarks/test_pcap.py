"""Capture files are read as they were written, whoever cut them off; what is no capture file is said to be none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.truth.pcap import read
from tests.benchmarks.frames import Segment, capture

_PORTS = st.integers(1, 65_535)
_SEGMENTS = st.lists(
    st.builds(
        Segment,
        at_ns=st.integers(0, 2**32 * 10**9 - 1),
        source_port=_PORTS,
        target_port=_PORTS,
        sequence=st.integers(0, 2**32 - 1),
        payload=st.binary(max_size=200) | st.just(b"POST / HTTP/1.1\r\n\r\n"),
        syn=st.booleans(),
    ),
    max_size=20,
)


@given(_SEGMENTS, st.sampled_from("<>"))
def test_every_segment_is_read_to_the_nanosecond(segments: list[Segment], order: str) -> None:
    packets = read(capture(segments, order))
    assert packets.at_ns.tolist() == [segment.at_ns for segment in segments]
    assert packets.source_port.tolist() == [segment.source_port for segment in segments]
    assert packets.target_port.tolist() == [segment.target_port for segment in segments]
    assert packets.sequence.tolist() == [segment.sequence for segment in segments]
    assert packets.payload_bytes.tolist() == [len(segment.payload) for segment in segments]
    assert packets.opens.tolist() == [segment.syn for segment in segments]
    assert packets.posts.tolist() == [segment.payload.startswith(b"POST") for segment in segments]


@given(_SEGMENTS)
def test_a_file_of_microseconds_is_read_in_nanoseconds(segments: list[Segment]) -> None:
    packets = read(capture(segments, nano=False))
    assert packets.at_ns.tolist() == [segment.at_ns // 1_000 * 1_000 for segment in segments]


@given(_SEGMENTS, st.data())
def test_a_file_cut_anywhere_gives_the_segments_before(segments: list[Segment], data: st.DataObject) -> None:
    whole = capture(segments)
    cut = data.draw(st.integers(24, len(whole)))
    found = read(whole[:cut]).sequence.tolist()
    assert found == [segment.sequence for segment in segments][: len(found)]
    fitting = sum(len(capture(segments[: n + 1])) <= cut for n in range(len(segments)))
    assert len(found) == fitting


@given(st.binary(max_size=300), st.booleans())
def test_hostile_bytes_are_read_or_refused(noise: bytes, headed: bool) -> None:
    try:
        packets = read(capture(()) + noise if headed else noise)
    except ValueError:
        return
    assert (packets.payload_bytes >= 0).all()


def test_another_kind_of_file_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no pcap file"):
        read(b"\x0a\x0d\x0d\x0a" + bytes(40))
    with pytest.raises(ValueError, match="link type 113"):
        read(capture((), link=113))
