"""What no server should take is refused, and costs nobody else anything."""

import socket
from itertools import chain

import pytest

from loadgen.pool import Pool
from loadgen.protocols.exchange import exchange
from nightbench.samples import Outcome
from nightbench.server import ProbeStatus, Protocol
from tests.conformance.bad_requests import KINDS, bad_request
from tests.conformance.checks import check, over, processes
from tests.conformance.subject import TIMEOUT_S, Subject

REFUSALS = {Outcome.HTTP_4XX, Outcome.HTTP_5XX, Outcome.RPC_ERROR, Outcome.HTTP_429, Outcome.HTTP_503}
HUNG_UP = {Outcome.RESET, Outcome.PROTOCOL_ERROR}
"""Before all of it was sent: a server need not listen to the end of what it will not take."""
SHARED_MEMORY = {Protocol.KSERVE_HTTP_SHM, Protocol.KSERVE_GRPC_SHM}
"""The doors of these are those of the protocols without it."""


@over(lambda protocol: protocol not in SHARED_MEMORY)
@processes
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=check(kind)) for kind in KINDS])
def test_it_refuses_and_serves_on(subject: Subject, protocol: Protocol, kind: str) -> None:
    endpoint = subject.endpoint(protocol)
    model = subject.model
    before = subject.first.pids()
    pool = Pool.read(subject.prepared(subject.format).pool.path, model.inputs, model.outputs)
    codec, request = bad_request(kind, endpoint, model, pool.request(0, 1))
    wire = codec.wire()
    if kind == "cut off":
        wire.begin(request)
        whole = b"".join(chain(map(bytes, wire.output())))
        with socket.create_connection((endpoint.host, endpoint.port), TIMEOUT_S) as connection:
            connection.sendall(whole[: len(whole) // 2])
    else:
        reply = exchange(wire, request, endpoint.host, endpoint.port, TIMEOUT_S)
        expected = REFUSALS | HUNG_UP if kind == "oversized" else REFUSALS
        assert reply.outcome in expected, f"{protocol}: {reply.outcome.label}: {reply.detail or reply.body[:200]!r}"
    codec.close()
    good = subject.prober()(endpoint, TIMEOUT_S)
    assert good.status is ProbeStatus.READY, f"{protocol}: the good request after it: {good.detail}"
    died = before - subject.first.pids()
    assert not died, f"{protocol}: {len(died)} of {len(before)} processes died of it"
