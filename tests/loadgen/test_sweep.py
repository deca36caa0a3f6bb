"""A sweep sends what it was given, counts what came back, and refuses what cannot be in one sentence."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from loadgen.dialects import DIALECTS, DialectName
from loadgen.payload import Payload, drawn_bodies, drawn_tensors, file_body, npz_tensors
from loadgen.pool import Pool
from loadgen.sweep import Sweep, Swept, run_sweep
from loadgen.sweep_report import report as report_of
from loadgen.target import Target
from nightbench.errors import UsageError
from nightbench.load import Arrival, ClosedLoop, Load, OpenLoop
from nightbench.server import Protocol
from nightbench.stopping import Stopped

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def swept(
    port: int,
    name: DialectName,
    payload: Payload,
    load: Load | None = None,
    requests: int | None = 40,
    duration_s: float | None = None,
    warmup_s: float = 0.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> Swept:
    sweep = Sweep(
        protocol=name,
        endpoint=DIALECTS[name].endpoint(Target("127.0.0.1", port), None, "m", payload),
        payload=payload,
        load=load or ClosedLoop(2),
        duration_s=duration_s,
        max_requests=requests,
        warmup_s=warmup_s,
        timeout_s=5.0,
    )
    return run_sweep(sweep, should_stop)


def test_given_bytes_arrive_as_they_are_and_are_counted(serve, tmp_path: Path) -> None:
    server = serve(lambda _number, _body: OK)
    document = tmp_path / "body.json"
    document.write_bytes(b'{"instances": [1]}\n')
    done = swept(server.port, "json", file_body(document))
    assert done.result.outcomes == {"ok": 40}
    assert set(server.bodies) == {b'{"instances": [1]}\n'}
    assert not done.nothing_succeeded


def test_random_bodies_rotate_so_that_no_cache_can_answer(serve) -> None:
    server = serve(lambda _number, _body: OK)
    swept(server.port, "raw-http", drawn_bodies(100, seed=1, json=False))
    assert len(set(server.bodies)) == 16
    assert {len(body) for body in server.bodies} == {100}


def test_one_input_can_be_repeated_to_see_what_a_cache_hides(serve) -> None:
    server = serve(lambda _number, _body: OK)
    swept(server.port, "raw-http", drawn_bodies(100, seed=1, json=False, distinct=1))
    assert len(set(server.bodies)) == 1
    assert drawn_tensors(["x:FP32:2x3"], 0, distinct=1).arrays["x"].shape == (2, 3)


@pytest.mark.parametrize("size_bytes", [11, 12, 1000])
def test_random_json_is_json_of_exactly_that_size(size_bytes: int) -> None:
    for body in drawn_bodies(size_bytes, seed=1, json=True).arrays["body"]:
        assert len(body) == size_bytes
        assert list(json.loads(body.tobytes())) == ["data"]


def test_tensors_travel_by_the_protocol(serve, tmp_path: Path) -> None:
    server = serve(lambda _number, _body: OK)
    np.savez(tmp_path / "x.npz", x=np.arange(6, dtype="<f4").reshape(3, 2))
    done = swept(server.port, "kserve-v1", npz_tensors(tmp_path / "x.npz", 2))
    assert done.result.outcomes == {"ok": 40}
    sent = {json.dumps(json.loads(body)["instances"]) for body in server.bodies}
    assert sent == {"[[0.0, 1.0], [2.0, 3.0]]", "[[2.0, 3.0], [4.0, 5.0]]", "[[4.0, 5.0], [0.0, 1.0]]"}


def test_failures_are_figures_and_not_errors(serve) -> None:
    server = serve(lambda number, _: b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n" if number % 4 == 0 else OK)
    report = report_of(swept(server.port, "raw-http", drawn_bodies(10, 0, json=False)))
    assert report["ok"] + report["failed"] == sum(report["outcomes"].values())
    assert report["outcomes"]["http_503"] == report["failed"] > 0
    assert "errors" in [doubt["reason"] for doubt in report["doubts"]]
    assert report["first_failure"].startswith("http_503: ")


def test_a_server_that_is_gone_is_a_result_in_which_nothing_succeeded(free_port: int) -> None:
    done = swept(free_port, "raw-http", drawn_bodies(10, 0, json=False), requests=2)
    assert done.nothing_succeeded
    report = report_of(done)
    assert (report["ok"], report["throughput_rps"]) == (0, 0.0)
    assert report["latency_ms"] == dict.fromkeys(("p50", "p90", "p95", "p99", "p999"))


def test_the_report_holds_every_figure_of_an_open_loop(serve) -> None:
    server = serve(lambda _number, _body: OK)
    load = OpenLoop(400.0, Arrival.CONSTANT)
    done = swept(
        server.port, "raw-http", drawn_bodies(10, 0, json=False), load, requests=None, duration_s=1.0, warmup_s=0.1
    )
    report = json.loads(json.dumps(report_of(done), allow_nan=False))
    assert done.result.requests == 440
    assert report["warmup_s"] >= 0.1
    # Who cuts how much of the beginning is the stationarity rule's business; nothing that was due is left out.
    assert report["offered_rps"] * report["measured_s"] == pytest.approx(report["ok"] + report["failed"])
    assert list(report["send_lag_us"]) == ["p50", "p99", "p999"]
    for kind in ("latency_ms", "service_ms"):
        assert 0 < report[kind]["p50"] <= report[kind]["p90"]
        low, high = report["intervals"][kind]["p50"]
        assert low is None or low <= report[kind]["p50"]
        assert high is None or report[kind]["p50"] <= high
        # At most 440 requests say nothing about one in a thousand.
        assert report[kind]["p999"] is None
        assert report["intervals"][kind]["p999"] is None
    assert report["latency_ms"]["p50"] >= report["service_ms"]["p50"]
    assert report["client_cpu_us_per_request"] > 0
    assert report["protocol"] == "raw-http"


def test_a_closed_loop_has_no_lag_to_report(serve) -> None:
    report = report_of(swept(serve(lambda *_: OK).port, "raw-http", drawn_bodies(10, 0, json=False)))
    assert report["offered_rps"] is None
    assert report["send_lag_us"] == {"p50": None, "p99": None, "p999": None}


def test_a_number_of_poisson_arrivals_is_sent_exactly(serve) -> None:
    server = serve(lambda *_: OK)
    done = swept(server.port, "raw-http", drawn_bodies(10, 0, json=False), OpenLoop(500.0), requests=100)
    assert done.result.outcomes == {"ok": 100}


def test_a_sweep_can_be_stopped(serve) -> None:
    server = serve(lambda *_: OK)
    with pytest.raises(Stopped):
        swept(
            server.port,
            "raw-http",
            drawn_bodies(10, 0, json=False),
            requests=None,
            duration_s=60,
            should_stop=lambda: bool(server.bodies),
        )


def test_drawn_tensors_make_a_pool_of_distinct_requests(tmp_path: Path) -> None:
    payload = drawn_tensors(["ids:int64:2x8", "image:FP32:2x3x4x4"], seed=3)
    payload.save(tmp_path / "pool.npz")
    pool = Pool.read(tmp_path / "pool.npz", payload.specs, ())
    assert (payload.batch, pool.count) == (2, 32)
    request = pool.request(0, payload.batch)
    assert {name: array.shape for name, array in request.items()} == {"ids": (2, 8), "image": (2, 3, 4, 4)}
    assert len({array.tobytes() for array in pool.inputs["image"]}) == 32
    assert request["ids"].min() >= 0
    again = drawn_tensors(["ids:int64:2x8", "image:FP32:2x3x4x4"], seed=3)
    assert all((payload.arrays[name] == again.arrays[name]).all() for name in payload.arrays)


@pytest.mark.parametrize(
    "text", ["", "x", "x:FP32", "x:FP32:", ":FP32:1", "x:BF16:1", "x:FP32:1x0", "x:FP32:1x-2", "x:FP32:1xa"]
)
def test_input_descriptions_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="NAME:DTYPE:SHAPE"):
        drawn_tensors([text], 0)


def test_input_descriptions_that_do_not_fit_together() -> None:
    with pytest.raises(UsageError, match="given twice"):
        drawn_tensors(["x:FP32:1", "x:FP32:1"], 0)
    with pytest.raises(UsageError, match=r"\[1, 2\]"):
        drawn_tensors(["x:FP32:1x3", "y:FP32:2x3"], 0)
    with pytest.raises(UsageError, match="at most"):
        drawn_tensors(["x:FP32:100000x100000"], 0)


def test_files_that_are_no_tensors(tmp_path: Path) -> None:
    def refused(words: str, batch: int = 1, **arrays: object) -> None:
        path = tmp_path / "x.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]  # whatever the test gives
        with pytest.raises(UsageError, match=words) as raised:
            npz_tensors(path, batch)
        assert str(path) in str(raised.value)

    refused("no array")
    refused("first axis", x=np.float32(1))
    refused("first axis", x=np.zeros((2, 1), "f4"), y=np.zeros((3, 1), "f4"))
    refused("float64", x=np.zeros((2, 1)))
    refused("--batch: 3", batch=3, x=np.zeros((2, 1), "f4"))
    refused("--batch: 0", batch=0, x=np.zeros((2, 1), "f4"))
    refused("no .npz", x=np.array([{}], object))
    for content in (b"", b"PK\x03\x04 torn", b"text"):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(UsageError, match="npz"):
            npz_tensors(tmp_path / "x.npz", 1)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        npz_tensors(tmp_path / "absent.npz", 1)


def test_big_endian_arrays_are_sent_little_endian(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.array([[1.0, 2.0]], ">f4"))
    payload = npz_tensors(tmp_path / "x.npz", 1)
    assert payload.arrays["x"].tobytes() == np.array([1, 2], "<f4").tobytes()


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", 8000, ""),
        ("http://127.0.0.1:8000/", "127.0.0.1", 8000, ""),
        ("127.0.0.1:8000/v1/x", "127.0.0.1", 8000, "/v1/x"),
        ("http://localhost:1/a?b=c", "localhost", 1, "/a?b=c"),
        ("http://localhost:1?b=c", "localhost", 1, "/?b=c"),
        ("grpc://[::1]:8001", "::1", 8001, ""),
    ],
)
def test_urls(url: str, host: str, port: int, path: str) -> None:
    assert Target.parse(url) == Target(host, port, path)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "host is missing"),
        ("http://", "host is missing"),
        ("http://127.0.0.1", "port is missing"),
        ("127.0.0.1:0", "port is missing"),
        ("127.0.0.1:99999", "Port out of range"),
        ("127.0.0.1:http", "Port could not be cast"),
        ("http://[::1:80", "IPv6"),
        ("https://127.0.0.1:1", "TLS"),
        ("ftp://127.0.0.1:1", "'ftp' is unknown"),
        ("http://me:secret@127.0.0.1:1", "user name"),
        ("http://127.0.0.1:1/#x", "fragment"),
        ("http://127.0.0.1:1/a\r\nX: y", "characters"),
    ],
)
def test_urls_that_are_none(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Target.parse(url)


def test_only_this_machine_is_loaded_unless_allowed(free_port: int) -> None:
    with pytest.raises(UsageError, match="--allow-remote"):
        Target("192.0.2.1", 80).reach(allow_remote=False)
    with pytest.raises(UsageError, match="start the server first"):
        Target("127.0.0.1", free_port).reach(allow_remote=False)
    with pytest.raises(UsageError, match="cannot be found"):
        Target("no-such-host.invalid", 80).reach(allow_remote=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert Target("localhost", port).reach(allow_remote=False) in ("localhost", "127.0.0.1")


def test_the_address_that_answers_is_the_one_that_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo

    def both(host: str, port: int, *rest: int, **named: int) -> object:
        if host == "localhost":
            return [*look_up("127.0.0.2", port, *rest, **named), *look_up("127.0.0.1", port, *rest, **named)]
        return look_up(host, port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert Target("localhost", listener.getsockname()[1]).reach(allow_remote=False) == "127.0.0.1"
    with socket.create_server(("127.0.0.2", 0)) as listener:
        assert Target("localhost", listener.getsockname()[1]).reach(allow_remote=False) == "localhost"


def test_a_dialect_says_what_it_needs() -> None:
    tensors, target = drawn_tensors(["x:FP32:1x2"], 0), Target("h", 1)
    for name in ("kserve-http", "kserve-grpc", "kserve-v1", "torchserve", "tfserving-rest"):
        with pytest.raises(UsageError, match="--model"):
            DIALECTS[name].endpoint(target, None, "", tensors)
    with pytest.raises(UsageError, match="path of its own"):
        DIALECTS["kserve-grpc"].endpoint(Target("h", 1, "/x"), None, "m", tensors)
    for path in ("x", "/a b", "/a\r\nX: y", "/\N{LATIN SMALL LETTER E WITH ACUTE}"):
        with pytest.raises(UsageError, match="--path"):
            DIALECTS["json"].endpoint(target, path, "", tensors)


def test_the_users_path_comes_before_the_urls_and_the_protocols(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    body = file_body(tmp_path / "x")

    def at(path: str | None, of_url: str) -> str:
        endpoint = DIALECTS["kserve-v1"].endpoint(Target("h", 1, of_url), path, "m", body)
        assert endpoint.protocol is Protocol.OPAQUE_HTTP
        return endpoint.path

    assert (at("/a", "/b"), at(None, "/b"), at(None, "")) == ("/a", "/b", "/v1/models/m:predict")


def test_numbers_that_json_cannot_carry_are_refused_before_the_load(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.array([[np.nan]], "f4"))
    with pytest.raises(UsageError, match="NaN"):
        DIALECTS["kserve-v1"].endpoint(Target("h", 1), None, "m", npz_tensors(tmp_path / "x.npz", 1))


def test_a_load_that_would_not_fit_into_memory_is_refused() -> None:
    payload = drawn_bodies(1, 0, json=False)
    endpoint = DIALECTS["raw"].endpoint(Target("h", 1), None, "", payload)
    sweep = Sweep("raw", endpoint, payload, OpenLoop(1e6), 3600.0, None, 0.0, 1.0)
    with pytest.raises(UsageError, match="lower the rate"):
        sweep.check()
