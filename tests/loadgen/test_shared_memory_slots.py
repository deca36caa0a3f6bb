"""Slots of shared memory: never two answers in one, and used again only when nobody writes there any more."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from loadgen.protocols.shared_memory import Place, SharedMemory
from loadgen.wire.base import Reply
from nightbench.errors import NightbenchError
from nightbench.samples import Outcome

DONE = Reply(Outcome.OK, b"message")


@dataclass
class Plain:
    """A region that is only memory."""

    size_bytes: int
    name: str = "plain"
    family: str = "system"
    memory: bytearray = field(default_factory=bytearray)
    committed: int = 0
    closed: bool = False

    def __post_init__(self) -> None:
        self.memory = bytearray(self.size_bytes)

    def write(self, at: int, content: bytes) -> None:
        self.memory[at : at + len(content)] = content

    def read(self, at: int, size: int) -> bytes:
        return bytes(self.memory[at : at + size])

    def commit(self, at: int, size: int) -> None:
        assert at + size <= self.size_bytes
        self.committed += size

    def as_json(self) -> bytes:
        return b""

    as_protobuf = as_json

    def close(self) -> None:
        self.closed = True


def places_of(places: Sequence[Place]) -> bytes:
    return json.dumps(places).encode()


def memory(*sizes: int, limit_bytes: int = 2**20) -> SharedMemory:
    made = SharedMemory(Plain, lambda _: None, lambda _: None, places_of, sizes, limit_bytes)
    made.place([b"input"])
    return made


def test_slots_of_open_connections_never_overlap() -> None:
    made = memory(100, 5000)
    taken: list[tuple[int, int]] = []
    for _ in range(20):
        for _, at, size in json.loads(made.slot().tail):
            assert all(at >= end or at + size <= start for start, end in taken)
            taken.append((at, at + size))


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.HTTP_4XX, Outcome.HTTP_5XX, Outcome.RPC_ERROR])
def test_a_slot_is_used_again_once_its_connection_has_its_last_answer(outcome: Outcome) -> None:
    made = memory(8)
    slot = made.slot()
    slot.answered(Reply(outcome, b""), reusable=True)
    assert made.slot() is not slot, "its connection may send another request"
    slot.answered(Reply(outcome, b""), reusable=False)
    slot.answered(Reply(outcome, b""), reusable=False)
    assert made.slot() is slot
    assert made.slot() is not slot


@pytest.mark.parametrize("outcome", [Outcome.RESET, Outcome.PROTOCOL_ERROR])
def test_a_slot_into_which_the_server_may_yet_write_is_given_up(outcome: Outcome) -> None:
    made = memory(8)
    slot = made.slot()
    slot.answered(Reply(outcome, b""), reusable=False)
    assert made.slot() is not slot


def test_the_slot_of_an_answered_connection_is_free_when_it_closes() -> None:
    made = memory(8)
    slot = made.slot()
    slot.asked = True
    slot.answered(DONE, reusable=True)
    slot.released()
    slot.released()
    assert made.slot() is slot
    assert made.slot() is not slot


def test_slots_run_out_in_words() -> None:
    made = memory(8, limit_bytes=8192)
    made.slot()
    made.slot()
    with pytest.raises(OSError, match="all 2 places"):
        made.slot()


def test_a_reply_keeps_its_outputs_when_the_slot_is_written_anew() -> None:
    region: list[Plain] = []

    def make(size: int) -> Plain:
        region.append(Plain(size))
        return region[-1]

    made = SharedMemory(make, lambda _: None, lambda _: None, places_of, [4, 4], 2**20)
    made.place([b"input"])
    slot = made.slot()
    (_, first, _), (_, second, _) = json.loads(slot.tail)
    region[0].write(first, b"abcd")
    region[0].write(second, b"efgh")
    body = slot.answered(DONE, reusable=True).body
    region[0].write(first, b"....")
    assert [body[start : start + size] for start, size in made.reply_places] == [b"abcd", b"efgh"]
    assert body[made.reply_bytes :] == b"message"


def test_a_server_that_does_not_listen_is_asked_to_unregister_just_once() -> None:
    asked: list[str] = []
    regions: list[Plain] = []

    def unregister(region: Plain) -> None:
        asked.append(region.name)
        raise NightbenchError("gone")

    def make(size: int) -> Plain:
        regions.append(Plain(size))
        return regions[-1]

    made = SharedMemory(make, lambda _: None, unregister, places_of, [8], 2**20)
    made.place([b"a"])
    made.place([b"b"])
    made.close()
    assert len(asked) == 1
    assert all(region.closed for region in regions)
