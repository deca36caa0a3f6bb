"""What the gateways do that clients would miss, without a server: their modules, imported as their processes do."""

import asyncio
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from starlette.requests import Request
from tritonclient.utils import InferenceServerException

from servers import arena

SERVERS = Path(arena.__file__).parent
SHARED = ("flow", "front", "pipeline", "stages")

Load = Callable[[str], Any]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """A module of the servers by its path. Their environments alone have uvloop, which nothing here runs."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(SERVERS / "arena_common")])
    monkeypatch.setitem(sys.modules, "uvloop", ModuleType("uvloop"))
    for name in SHARED:  # forgotten afterwards
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.delitem(sys.modules, name)

    def loaded(path: str) -> ModuleType:
        spec = spec_from_file_location("loaded", SERVERS / path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return loaded


@pytest.mark.parametrize("name", ["arena_microservices", "arena_triton"])
def test_a_cold_start_does_not_wait_for_grpc_to_try_again(load: Load, name: str) -> None:
    channel = dict(load(f"{name}/serve.py").CHANNEL)
    assert channel["grpc.initial_reconnect_backoff_ms"] == 20
    assert channel["grpc.max_reconnect_backoff_ms"] == 100
    assert {channel[f"grpc.max_{way}_message_length"] for way in ("send", "receive")} == {-1}


def _asked(gateway: Any, monkeypatch: pytest.MonkeyPatch, fails: str = "") -> dict[str, Any]:
    """One call of Triton: what was passed to its client."""
    tensor = {"name": "x", "shape": [2], "dtype": "float32"}
    monkeypatch.setattr(gateway, "described", lambda *_: (tensor, tensor))
    seen: dict[str, Any] = {}

    async def infer(*_: object, **given: object) -> object:
        seen.update(given)
        if fails:
            raise InferenceServerException(fails)
        return SimpleNamespace(as_numpy=lambda _: np.zeros((1, 2), np.float32))

    call = gateway.remote(SimpleNamespace(infer=infer), Path(), "detect")
    asyncio.run(call(np.zeros((1, 2), np.float32)))
    return seen


def test_the_gateway_ends_where_a_stub_of_triton_did(
    load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Triton would refuse everything from then on; the supervisor ends all when one ends."""

    class Ended(BaseException):
        pass

    def end(code: int) -> None:
        raise Ended(code)

    gateway = load("arena_triton/serve.py")
    monkeypatch.setattr(gateway.os, "_exit", end)
    with pytest.raises(Ended) as ended:
        _asked(gateway, monkeypatch, "Stub process 'detect_0_0' is not healthy.")
    assert ended.value.args == (1,)
    assert "is not healthy" in capsys.readouterr().err
    with pytest.raises(InferenceServerException, match="Exceeds maximum queue size"):
        _asked(gateway, monkeypatch, "Exceeds maximum queue size")


def test_no_call_waits_for_ever(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _asked(load("arena_triton/serve.py"), monkeypatch)["client_timeout"] == 30
    gateway = load("arena_microservices/serve.py")
    seen: dict[str, Any] = {}

    async def ask(_: bytes, **given: object) -> bytes:
        seen.update(given)
        return np.zeros(3, "<f4").tobytes()

    told = asyncio.run(gateway.remote(ask)(np.zeros((1, 3, 2, 2), np.float32)))
    assert told.shape == (1, 3)
    assert seen == {"timeout": 30}


@pytest.mark.parametrize("batch", ["0" * 20 + "1", "0" * 8 + "1" * 5000, "9" * 5000])
def test_a_batch_of_many_digits_is_refused(load: Load, batch: str) -> None:
    front = load("arena_common/front.py")
    headers = {"content-type": "application/octet-stream", "x-batch": batch, "content-length": "4"}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    with pytest.raises(front.Refused, match="send a whole number from 1 to 4096"):
        front.expected_batch(Request({"type": "http", "headers": pairs}), 4)
