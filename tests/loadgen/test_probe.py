"""Readiness is one right answer: anything else is "not yet" or "wrong", with words."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from loadgen.probe import PoolProber
from nightbench.errors import NightbenchError
from nightbench.model import DType, InputPool, TensorSpec, Tolerance
from nightbench.server import Endpoint, Prober, ProbeStatus, Protocol

X = (TensorSpec("x", DType.FP32, (3,)),)
Y = (TensorSpec("y", DType.FP32, (3,)),)


@pytest.fixture
def make_prober(pool: Path) -> Callable[..., PoolProber]:
    def make(**settings: object) -> PoolProber:
        item = InputPool("m", "random", 5, pool, "")
        return PoolProber(item, X, Y, Tolerance(1e-6, 1e-6), **settings)  # type: ignore[arg-type]  # a test names them

    return make


@pytest.fixture
def prober(make_prober: Callable[..., PoolProber]) -> Prober:
    return make_prober()


def at(port: int) -> Endpoint:
    return Endpoint(Protocol.RAW_HTTP, "127.0.0.1", port, "m")


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_the_right_answer_is_ready(serve, prober: Prober) -> None:
    assert prober(at(serve().port), 5.0).status is ProbeStatus.READY


@pytest.mark.parametrize(
    ("action", "status", "detail"),
    [
        (http(b"\0" * 12), ProbeStatus.WRONG, "output 'y' differs by up to"),
        (
            http(np.full(3, np.nan, "<f4").tobytes()),
            ProbeStatus.WRONG,
            "output 'y' holds 3 values of 3 that are not finite",
        ),
        (http(b""), ProbeStatus.WRONG, "the answer cannot be read: the body has 0 bytes, not 12"),
        (http(b"loading", "503 Busy"), ProbeStatus.NOT_YET, "http_503: 503 Busy: loading"),
        (http(b"", "404 Not Found"), ProbeStatus.NOT_YET, "http_4xx: 404 Not Found"),
        (b"220 smtp\r\n\r\n", ProbeStatus.NOT_YET, "protocol_error: "),
        ("reset", ProbeStatus.NOT_YET, "reset: "),
        ("close", ProbeStatus.NOT_YET, "reset: "),
        ("hang", ProbeStatus.NOT_YET, "timeout: no answer within 0.2 s"),
    ],
)
def test_anything_else_is_not(serve, prober: Prober, action: bytes | str, status: ProbeStatus, detail: str) -> None:
    result = prober(at(serve(lambda _n, _b: action).port), 0.2 if action == "hang" else 5.0)
    assert result.status is status
    assert detail in result.detail


def test_nobody_there_is_not_yet(prober: Prober, free_port: int) -> None:
    result = prober(at(free_port), 1.0)
    assert (result.status, result.detail) == (ProbeStatus.NOT_YET, "refused: connection refused")


def test_a_dribbling_server_cannot_hold_the_prober(serve, prober: Prober) -> None:
    def dribble(_number: int, _body: bytes) -> bytes:
        time.sleep(0.15)
        return b"HTTP/1.1 100 Continue\r\n\r\n"

    assert "timeout" in prober(at(serve(dribble).port), 0.2).detail


def model(tmp_path: Path, source: str) -> Endpoint:
    module = tmp_path / "serve.py"
    module.write_text(f"def load(artifact, options, threads):\n    {source}\n")
    return Endpoint(Protocol.IN_PROCESS, module=module, artifact=tmp_path / "model.bin")


def test_in_process_readiness_brings_load_time_and_memory(prober: Prober, tmp_path: Path) -> None:
    result = prober(model(tmp_path, "return lambda inputs: {'y': inputs['x'] * 2 + 1}"), 60.0)
    assert result.status is ProbeStatus.READY
    assert result.model_load_ns is not None
    assert result.rss_bytes is not None


@pytest.mark.parametrize(
    ("source", "status", "detail"),
    [
        ("return lambda inputs: {'y': inputs['x']}", ProbeStatus.WRONG, "output 'y' differs"),
        ("return lambda inputs: {}", ProbeStatus.WRONG, "output 'y' is missing"),
        ("raise RuntimeError('bad file')", ProbeStatus.FAILED, "RuntimeError: bad file"),
        ("return lambda inputs: 1 / 0", ProbeStatus.FAILED, "rpc_error: ZeroDivisionError"),
    ],
)
def test_in_process_trouble_is_told_apart(
    prober: Prober, tmp_path: Path, source: str, status: ProbeStatus, detail: str
) -> None:
    result = prober(model(tmp_path, source), 60.0)
    assert result.status is status
    assert detail in result.detail


def test_an_in_process_model_that_never_loads_is_not_yet(prober: Prober, tmp_path: Path) -> None:
    result = prober(model(tmp_path, "import time; time.sleep(600)"), 1.0)
    assert (result.status, result.detail) == (ProbeStatus.NOT_YET, "no answer within 1 s")


def test_an_in_process_probe_ends_when_told_to_stop(make_prober: Callable[..., PoolProber], tmp_path: Path) -> None:
    loading = tmp_path / "loading"
    endless = model(tmp_path, f"open({str(loading)!r}, 'w').close(); import time; time.sleep(600)")
    result = make_prober(should_stop=loading.exists)(endless, 300.0)
    assert (result.status, result.detail) == (ProbeStatus.NOT_YET, "told to stop")


def test_an_in_process_probe_is_labelled_and_keeps_its_files_together(
    make_prober: Callable[..., PoolProber], tmp_path: Path
) -> None:
    root, said = tmp_path / "ours", tmp_path / "said"
    root.mkdir()
    source = (
        f"import os, tempfile; open({str(said)!r}, 'w').write(os.environ['LABEL'] + ' ' + tempfile.mkdtemp()); "
        "return lambda inputs: {'y': inputs['x'] * 2 + 1}"
    )
    result = make_prober(env={"LABEL": "d1"}, workdir_root=root)(model(tmp_path, source), 60.0)
    assert result.status is ProbeStatus.READY
    label, _, folder = said.read_text().partition(" ")
    assert label == "d1"
    assert Path(folder).is_relative_to(root)
    assert list(root.iterdir()) == []


def test_a_pool_of_another_model_is_refused_at_once(pool: Path) -> None:
    with pytest.raises(NightbenchError, match="there is no array"):
        PoolProber(InputPool("m", "random", 5, pool, ""), (TensorSpec("z", DType.FP32, (3,)),), Y, Tolerance(0, 0))
