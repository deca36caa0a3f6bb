"""A protocol that a container cannot speak is no gap without a reason."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from nightbench.model import Format, ModelSpec, Precision, Tolerance
from nightbench.plan import Export, Setup
from nightbench.server import Protocol
from tasks import parity
from tasks.session import Known


@pytest.mark.parametrize(
    ("shared_memory", "why"),
    [(True, "its user may not open root's shared memory"), (False, "NIGHTBENCH_SHARED_MEMORY is 'no'")],
)
def test_why_shared_memory_is_closed_to_a_container(
    monkeypatch: pytest.MonkeyPatch, shared_memory: bool, why: str
) -> None:
    monkeypatch.setattr(parity.Pool, "read", lambda *_: None)
    setup = Setup("triton", Export("net", Format.ONNX, Precision.FP32, "random"), ())
    cell = SimpleNamespace(protocol=Protocol.KSERVE_GRPC_SHM, batch=4)
    model = ModelSpec("net", "toys", 1, (), (), Tolerance(0, 0))
    session = SimpleNamespace(
        check_stop=lambda: None,
        settings=SimpleNamespace(shared_memory=shared_memory),
        catalog=SimpleNamespace(models={"net": model}),
        progress=SimpleNamespace(doing=lambda _: None),
        known=Known(),
    )
    subject = SimpleNamespace(
        deployment=SimpleNamespace(in_process=False, endpoints={}),
        replicate=SimpleNamespace(setup=setup, round=1, deployment_id="d1", cells=(cell,)),
        exported=SimpleNamespace(pool=SimpleNamespace(path=None)),
    )
    parity.check_wire(cast("Any", session), cast("Any", subject))
    kind = ("d1", Protocol.KSERVE_GRPC_SHM, 4)
    assert why in session.known.parity[kind]
    assert session.known.unanswered == {kind}
