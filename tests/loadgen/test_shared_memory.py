"""Tensors in shared memory: requests and answers through it, and nothing left behind by either side."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from loadgen.clock import Poller
from loadgen.connection import Connection, resolve
from loadgen.engine import run
from loadgen.job import Job
from loadgen.protocols import codec_for
from loadgen.protocols.exchange import exchange
from loadgen.protocols.kserve_http_shm import KServeHttpShm
from loadgen.wire.base import Reply
from nightbench.errors import NightbenchError, UsageError
from nightbench.load import ClosedLoop
from nightbench.samples import Outcome
from nightbench.server import Endpoint, Protocol
from tests.loadgen.fake_triton import FakeTriton, fake_triton
from tests.loadgen.shm_talk import PROTOCOLS, Codec, X, Y, codec, endpoint, ours, tidy_triton


@pytest.fixture
def server() -> Iterator[FakeTriton]:
    with tidy_triton() as triton:
        yield triton


def ask(made: Codec, server: FakeTriton, request: object) -> Reply:
    port = server.http_port if isinstance(made, KServeHttpShm) else server.grpc_port
    return exchange(made.wire(), request, "127.0.0.1", port, 30)


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
