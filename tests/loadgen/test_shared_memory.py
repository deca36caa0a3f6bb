"""Tensors in shared memory: the places, the requests that name them, and what is left behind."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from loadgen.clock import Poller
from loadgen.connection import Connection, resolve
from loadgen.engine import run
from loadgen.job import Job
from loadgen.protocols import codec_for
from loadgen.protocols.exchange import exchange
from loadgen.protocols.kserve_grpc_shm import KServeGrpcShm
from loadgen.protocols.kserve_http_shm import KServeHttpShm
from loadgen.protocols.regions import SystemRegion, remove_orphans
from loadgen.protocols.shared_memory import Place, SharedMemory
from loadgen.run import run_job
from loadgen.wire.base import Reply
from nightbench.errors import NightbenchError, UsageError
from nightbench.load import ClosedLoop
from nightbench.model import DType, TensorSpec
from nightbench.samples import Outcome
from nightbench.server import Endpoint, Protocol
from tests.loadgen.fake_triton import SHARED_MEMORY, FakeTriton, fake_triton

X, Y = TensorSpec("x", DType.FP32, (3,)), TensorSpec("y", DType.FP32, (3,))
PROTOCOLS = [Protocol.KSERVE_HTTP_SHM, Protocol.KSERVE_GRPC_SHM]
DONE = Reply(Outcome.OK, b"message")

Codec = KServeHttpShm | KServeGrpcShm


def ours() -> list[str]:
    """What this process has in shared memory now."""
    return [path.name for path in SHARED_MEMORY.glob(f"nightbench-{os.getpid()}-shm-*")]


@pytest.fixture
def server() -> Iterator[FakeTriton]:
    with fake_triton() as triton:
        yield triton
    assert not ours()


def endpoint(server: FakeTriton, protocol: Protocol) -> Endpoint:
    port = server.http_port if protocol is Protocol.KSERVE_HTTP_SHM else server.grpc_port
    return Endpoint(protocol, "127.0.0.1", port, "m")


def codec(server: FakeTriton, protocol: Protocol, outputs: tuple[TensorSpec, ...] = (Y,)) -> Codec:
    made = codec_for(endpoint(server, protocol), (X,), outputs, 1)
    assert isinstance(made, KServeHttpShm | KServeGrpcShm)
    assert not made.streaming
    return made


def ask(made: Codec, server: FakeTriton, request: object) -> Reply:
    port = server.http_port if isinstance(made, KServeHttpShm) else server.grpc_port
    return exchange(made.wire(), request, "127.0.0.1", port, 30)


# -- the codecs


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
def test_inputs_and_outputs_travel_in_shared_memory(server: FakeTriton, protocol: Protocol) -> None:
    made = codec(server, protocol)
    inputs = [np.full((1, 3), value, "<f4") for value in (1, 2)]
    requests = [made.prepare({"x": x}) for x in inputs]
    for request, x in [*zip(requests, inputs, strict=True)] * 2:
        reply = ask(made, server, request)
        assert reply.outcome is Outcome.OK, reply.detail
        np.testing.assert_array_equal(made.decode(reply.body)["y"], 2 * x + 1)
    made.close()
    assert not server.regions


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
def test_outputs_that_nobody_named_come_in_the_message(server: FakeTriton, protocol: Protocol) -> None:
    made = codec(server, protocol, outputs=())
    reply = ask(made, server, made.prepare({"x": np.ones((1, 3), "<f4")}))
    assert made.decode(reply.body)["y"].tolist() == [[3, 3, 3]]
    made.close()


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
def test_concurrent_requests_do_not_overwrite_one_another(server: FakeTriton, protocol: Protocol) -> None:
    """All four results are written before the first answer is sent."""
    server.together = threading.Barrier(4)
    made = codec(server, protocol)
    inputs = [np.full((1, 3), value, "<f4") for value in range(4)]
    requests = [made.prepare({"x": x}) for x in inputs]
    wires = [made.wire() for _ in inputs]
    port = endpoint(server, protocol).port
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda *each: exchange(*each, "127.0.0.1", port, 30), wires, requests))
    for reply, x in zip(replies, inputs, strict=True):
        np.testing.assert_array_equal(made.decode(reply.body)["y"], 2 * x + 1)
    made.close()


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
def test_a_cell_verifies_every_answer_and_leaves_nothing(
    server: FakeTriton, job: Callable[..., Job], protocol: Protocol
) -> None:
    result = run(job(0, endpoint=endpoint(server, protocol), load=ClosedLoop(4), max_requests=200, verify_every=1))
    assert result.outcomes == {"ok": 200}, result.detail
    assert (result.verified, result.wrong) == (200, 0), result.detail
    assert not server.regions
    assert len([name for name in server.asked if not name.startswith("-")]) == 6, "five inputs, and the outputs"


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
def test_a_server_that_takes_no_regions_is_named(protocol: Protocol) -> None:
    with fake_triton(refuses="not on this machine") as server:
        made = codec(server, protocol)
        with pytest.raises(NightbenchError, match=r"not on this machine.*has to run on this machine"):
            made.prepare({"x": np.ones((1, 3), "<f4")})
        made.close()
    assert not ours()


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
def test_nothing_is_left_of_a_server_that_ended(protocol: Protocol) -> None:
    with fake_triton() as server:
        made = codec(server, protocol)
        made.prepare({"x": np.ones((1, 3), "<f4")})
        assert len(ours()) == 2
    made.close()
    assert not ours()


def test_a_full_dev_shm_is_an_error_in_words(server: FakeTriton, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing there anyway would be a SIGBUS."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    made = codec(server, Protocol.KSERVE_HTTP_SHM)
    with pytest.raises(NightbenchError, match=r"No space left.*/dev/shm"):
        made.prepare({"x": np.ones((1, 3), "<f4")})
    made.close()


def test_an_unknown_kind_of_region_is_refused() -> None:
    for protocol in PROTOCOLS:
        with pytest.raises(UsageError, match="'system' or 'cuda'"):
            codec_for(Endpoint(protocol, "h", 1, "m", options={"region": "disk"}), (X,), (Y,), 1)


# -- what the messages say


@given(at=st.integers(0, 2**40), other=st.integers(0, 2**40), size=st.integers(1, 2**31))
def test_every_tail_is_equally_long_and_names_its_places(at: int, other: int, size: int) -> None:
    outputs = (Y, TensorSpec("z", DType.INT64, ()))
    places = [("nightbench-1-shm-a", at, size), ("nightbench-1-shm-a", other, size)]
    zeros = [("nightbench-1-shm-a", 0, size)] * 2
    http = KServeHttpShm(Endpoint(PROTOCOLS[0]), (X,), outputs, 1)
    rpc = KServeGrpcShm(Endpoint(PROTOCOLS[1]), (X,), outputs, 1)
    for made in (http, rpc):
        assert len(made._tail(places)) == len(made._tail(zeros))
    said = json.loads(b'{"inputs":[]' + http._tail(places))["outputs"]
    assert [output["name"] for output in said] == ["y", "z"]
    assert [tuple(output["parameters"].values()) for output in said] == places
    read = service_pb2.ModelInferRequest.FromString(rpc._tail(places)).outputs
    assert [output.name for output in read] == ["y", "z"]
    assert [
        (
            output.parameters["shared_memory_region"].string_param,
            output.parameters["shared_memory_offset"].int64_param,
            output.parameters["shared_memory_byte_size"].int64_param,
        )
        for output in read
    ] == places


def answer(datatype: str = "FP32", shape: Sequence[int] = (1, 3), name: str = "y", raw: bytes = b"") -> bytes:
    message = service_pb2.ModelInferResponse(raw_output_contents=[raw])
    message.outputs.add(name=name, datatype=datatype, shape=shape)
    return bytes(message.SerializeToString())


def spoken(**changes: object) -> bytes:
    return json.dumps({"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3]} | changes]}).encode()


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        *((PROTOCOLS[0], spoken(**changes)) for changes in (
            {"name": "z"},
            {"datatype": "FP16"},
            {"shape": [3, 1]},
            {"shape": 3},
            {"data": [1, 2, 3]},
            {"parameters": {"binary_data_size": 12}},
        )),
        (PROTOCOLS[0], b""),
        (PROTOCOLS[0], b"[" * 100_000),
        (PROTOCOLS[1], answer(name="z")),
        (PROTOCOLS[1], answer(datatype="FP16")),
        (PROTOCOLS[1], answer(shape=(3, 1))),
        (PROTOCOLS[1], answer(raw=bytes(12))),
        (PROTOCOLS[1], b""),
        (PROTOCOLS[1], b"\xff"),
    ],
)  # fmt: skip
def test_answers_about_something_else_are_value_errors(protocol: Protocol, message: bytes) -> None:
    made = codec_for(Endpoint(protocol), (X,), (Y,), 1)
    with pytest.raises(ValueError):  # noqa: PT011 - any words will do
        made.decode(bytes(64) + message)


@given(body=st.binary(max_size=200), message=st.binary(max_size=100))
def test_hostile_answers_are_value_errors(body: bytes, message: bytes) -> None:
    for protocol in PROTOCOLS:
        for outputs in ((Y,), ()):
            made = codec_for(Endpoint(protocol), (X,), outputs, 1)
            for hostile in (body, bytes(64) + spoken()[:-1] + message, bytes(64) + answer()[:-1] + message):
                try:
                    made.decode(hostile)
                except ValueError:
                    continue


# -- slots


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


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_connection_that_carries_nothing_gives_its_slot_back_when_it_closes(
    server: FakeTriton, protocol: Protocol, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setattr("loadgen.protocols.shared_memory._MOST_SLOTS", 2)
    made = codec(server, protocol)
    request = made.prepare({"x": np.ones((1, 3), "<f4")})
    poller = Poller()
    for _ in range(5):
        Connection(resolve("127.0.0.1", free_port), made.wire(), poller.epoll).close()
    for _ in range(2):
        wire = made.wire()
        wire.begin(request)
        # It timed out, say: the server may write there yet.
        wire.close()
    with pytest.raises(OSError, match="all 2 places") as raised:
        made.wire()
    assert raised.value.errno == errno.ENOBUFS
    poller.close()
    made.close()


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


# -- segments


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_segment_is_a_file_of_ours_alone(tmp_path: Path) -> None:
    region = SystemRegion(10_000, tmp_path)
    path = tmp_path / region.name
    assert path.stat().st_mode & 0o777 == 0o600
    region.write(100, b"abc")
    assert path.read_bytes()[98:105] == b"\0\0abc\0\0"
    held = region.read(100, 3)
    region.close()
    assert bytes(held) == b"abc"
    assert not list(tmp_path.iterdir())


def test_only_segments_of_the_dead_are_removed(tmp_path: Path) -> None:
    living = SystemRegion(10, tmp_path)
    dead = dead_pid()
    orphan, locked = (tmp_path / f"nightbench-{dead}-shm-{number}" for number in "ab")
    others = [tmp_path / "nightbench-x-shm-a", tmp_path / f"nightbench-{dead}-1-shm", tmp_path / "psm_1"]
    for path in (orphan, locked, *others):
        path.touch()
    with locked.open() as file:
        # Its owner lives where its process id cannot be seen from here: in another container.
        fcntl.flock(file, fcntl.LOCK_EX)
        assert remove_orphans(tmp_path) == [orphan.name]
    assert {path.name for path in tmp_path.iterdir()} == {living.name, locked.name, *(each.name for each in others)}
    living.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_killed_engine_shared_is_gone_with_its_run(
    server: FakeTriton, protocol: Protocol, job: Callable[..., Job]
) -> None:
    engine: list[int] = []
    whole = job(0, endpoint=endpoint(server, protocol), inputs=(X,), outputs=(Y,), duration_s=60.0)
    result = run_job(whole, on_start=engine.append, watch=lambda _: os.kill(engine[0], signal.SIGKILL))
    assert result.error == "the load engine was killed by SIGKILL"
    assert server.regions, "it had shared some"
    assert not list(SHARED_MEMORY.glob(f"nightbench-{engine[0]}-shm-*"))


def test_the_next_engine_removes_what_a_killed_one_left(server: FakeTriton) -> None:
    script = "from loadgen.protocols.regions import SystemRegion\nprint(SystemRegion(4096).name, flush=True)\ninput()\n"
    engine = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with engine:
        assert engine.stdout is not None
        name = engine.stdout.readline().strip()
        assert (SHARED_MEMORY / name).exists()
        engine.send_signal(signal.SIGKILL)
    made = codec(server, Protocol.KSERVE_HTTP_SHM)
    made.prepare({"x": np.ones((1, 3), "<f4")})
    assert not (SHARED_MEMORY / name).exists()
    assert f"-{name}" in server.asked, "a server that outlived it holds the memory until it is told"
    made.close()
