"""The engine against servers that stall, lie, refuse, reset and vanish."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen.arrivals import offsets_ns
from loadgen.codec_json import job_from_json, job_to_json, result_from_json, result_to_json
from loadgen.engine import run
from loadgen.job import Job, JobResult
from loadgen.loops import run_closed
from loadgen.schedule import Window
from loadgen.trace import read_trace, trace_of
from nightbench.errors import NightbenchError
from nightbench.load import Arrival, ClosedLoop, OpenLoop
from nightbench.model import DType, TensorSpec
from nightbench.samples import Outcome, Samples

JobMaker = Callable[..., Job]
RESET, CLOSE, HANG = "reset", "close", "hang"


def http(body: bytes, status: str = "200 OK", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


def right(_number: int, body: bytes) -> bytes:
    return http((np.frombuffer(body, "<f4") * 2 + 1).astype("<f4").tobytes())


def measured(job: Job) -> tuple[JobResult, Samples]:
    result = run(job)
    assert result.error is None
    samples = Samples.load(job.samples)
    assert result.requests == len(samples) == sum(result.outcomes.values())
    assert result.outcomes == samples.counts()
    assert (np.diff(samples.intended_ns) >= 0).all()
    assert (samples.done_ns >= samples.intended_ns).all()
    sent = samples.sent_ns > 0
    assert (samples.sent_ns[sent] >= samples.intended_ns[sent]).all()
    seen = samples.first_byte_ns > 0
    assert (samples.first_byte_ns[seen] >= samples.sent_ns[seen]).all()
    assert (samples.first_byte_ns[seen] <= samples.done_ns[seen]).all()
    assert seen[samples.ok].all()
    return result, samples


def test_closed_loop_keeps_its_concurrency_and_counts_every_answer(serve, job: JobMaker) -> None:
    at_once = threading.Lock()
    now, most = 0, 0

    def behave(number: int, body: bytes) -> bytes:
        nonlocal now, most
        with at_once:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with at_once:
            now -= 1
        return right(number, body)

    server = serve(behave)
    result, samples = measured(job(server.port, load=ClosedLoop(4)))
    assert most == 4
    assert server.connections == 4
    assert result.outcomes == {"ok": len(server.bodies)}
    assert (samples.sent_ns == samples.intended_ns).all()
    assert (samples.response_bytes > 12).all()
    assert result.verified > 0
    assert result.wrong == 0
    assert result.client_cpu_ns > 0


def test_inputs_rotate_through_the_pool(serve, job: JobMaker) -> None:
    server = serve()
    measured(job(server.port, max_requests=10, load=ClosedLoop(1)))
    assert sorted(Counter(server.bodies).values()) == [2] * 5


def test_a_batch_wraps_round_the_pool_and_is_verified_as_such(serve, job: JobMaker) -> None:
    server = serve()
    result, _ = measured(job(server.port, batch=7, max_requests=5, verify_every=1))
    assert {len(body) for body in server.bodies} == {7 * 12}
    assert (result.verified, result.wrong) == (5, 0)


def test_max_requests_ends_both_loops_early(serve, job: JobMaker) -> None:
    server = serve()
    for load in (ClosedLoop(3), OpenLoop(1000.0)):
        result, _ = measured(job(server.port, load=load, max_requests=7, duration_s=30))
        assert result.outcomes == {"ok": 7}


@pytest.mark.parametrize("arrival", list(Arrival))
def test_open_loop_sends_exactly_what_is_scheduled(serve, job: JobMaker, arrival: Arrival, tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("0\n0.001\n0.01\n")
    trace = trace_of(tmp_path / "trace") if arrival is Arrival.TRACE else None
    load = OpenLoop(300.0, arrival, burstiness=0.5 if arrival is Arrival.GAMMA else None, trace=trace)
    result, samples = measured(job(serve().port, load=load, seed=3))
    offsets = offsets_ns(load, 0.2, 3, None if trace is None else read_trace(trace))
    assert (samples.intended_ns - result.started_ns == offsets).all()
    assert result.outcomes == {"ok": len(offsets)}


def test_a_stall_is_not_hidden_from_the_requests_that_fell_into_it(serve, job: JobMaker) -> None:
    stall = threading.Lock()

    def behave(number: int, body: bytes) -> bytes:
        # One lock, as a server with one worker: who comes during the stall waits for its end.
        with stall:
            if number == 20:
                time.sleep(0.5)
        return right(number, body)

    _, samples = measured(job(serve(behave).port, load=OpenLoop(100.0, Arrival.CONSTANT), duration_s=0.8))
    assert samples.latency_ns.max() >= 0.4e9
    assert np.count_nonzero(samples.latency_ns >= 0.1e9) >= 30


def test_with_all_connections_busy_the_wait_counts_from_the_intended_time(
    serve, job: JobMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen.engine._MAX_CONNECTIONS", 1)

    def slow(number: int, body: bytes) -> bytes:
        time.sleep(0.02)
        return right(number, body)

    server = serve(slow)
    _, samples = measured(job(server.port, load=OpenLoop(200.0, Arrival.CONSTANT)))
    assert server.connections == 1
    assert samples.outcome.tolist() == [Outcome.OK] * 40
    # The last is due at 0.195 s and 39 others of 20 ms each go before it.
    assert samples.latency_ns[-1] >= 0.5e9
    assert samples.service_ns[-1] < samples.latency_ns[-1] / 2


def test_a_drain_is_bounded_and_leaves_the_rest_unfinished(serve, job: JobMaker) -> None:
    server = serve(lambda _number, _body: HANG)
    result, samples = measured(job(server.port, load=OpenLoop(50.0, Arrival.CONSTANT), timeout_s=0.1))
    assert len(samples) == 10
    assert set(result.outcomes) <= {"timeout", "unfinished"}
    assert result.outcomes["timeout"] >= 1
    assert result.detail == "timeout: no answer in time"


def test_what_is_in_flight_or_unsent_when_the_drain_ends_is_unfinished(
    serve, job: JobMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen.engine._MAX_CONNECTIONS", 1)
    server = serve(lambda _number, _body: HANG)
    load = OpenLoop(10.0, Arrival.CONSTANT)
    _, samples = measured(job(server.port, load=load, duration_s=0.4, timeout_s=0.3))
    # On the one connection: sent at 0, 0.3 and 0.6 s, given up after 0.3 s each; the drain ends at 0.7 s.
    assert samples.outcome.tolist() == [Outcome.TIMEOUT] * 2 + [Outcome.UNFINISHED] * 2
    assert (samples.sent_ns > 0).tolist() == [True, True, True, False]


def test_wrong_answers_are_found_and_marked(serve, job: JobMaker) -> None:
    def lie_sometimes(number: int, body: bytes) -> bytes:
        return http(b"\0" * 12) if number % 4 == 3 else right(number, body)

    result, samples = measured(job(serve(lie_sometimes).port, max_requests=40, verify_every=1, load=ClosedLoop(1)))
    assert (result.verified, result.wrong) == (40, 10)
    assert (np.flatnonzero(samples.outcome == Outcome.WRONG_OUTPUT) % 4 == 3).all()
    assert result.outcomes == {"ok": 30, "wrong_output": 10}
    assert "output 'y' differs by up to" in result.detail


@pytest.mark.parametrize(
    "answer",
    [http(b""), http(np.full(3, np.nan, "<f4").tobytes()), http(np.full(3, np.inf, "<f4").tobytes())],
    ids=["empty", "nan", "inf"],
)
def test_empty_and_non_finite_answers_never_pass(serve, job: JobMaker, answer: bytes) -> None:
    result, _ = measured(job(serve(lambda _number, _body: answer).port, max_requests=3, verify_every=1))
    assert result.outcomes == {"wrong_output": 3}


def test_without_outputs_there_is_nothing_to_compare(serve, job: JobMaker) -> None:
    result, _ = measured(job(serve().port, max_requests=3, verify_every=1, outputs=()))
    assert (result.verified, result.outcomes) == (0, {"ok": 3})


def test_verify_every_zero_checks_nothing(serve, job: JobMaker) -> None:
    result, _ = measured(job(serve(lambda _n, _b: http(b"")).port, max_requests=3, verify_every=0))
    assert (result.verified, result.outcomes) == (0, {"ok": 3})


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        (RESET, "reset"),
        (CLOSE, "reset"),
        (HANG, "timeout"),
        (http(b"busy", "503 Service Unavailable"), "http_503"),
        (http(b"broken", "500 Internal Server Error"), "http_5xx"),
        (http(b"slow down", "429 Too Many Requests"), "http_429"),
        (http(b"no such model", "404 Not Found"), "http_4xx"),
        (http(b"", "302 Found"), "protocol_error"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "protocol_error"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nshort", "reset"),
    ],
)
def test_every_misbehaviour_has_its_name(serve, job: JobMaker, action: bytes | str, outcome: str) -> None:
    def behave(number: int, body: bytes) -> bytes | str:
        return action if number == 1 else right(number, body)

    server = serve(behave)
    result, _ = measured(job(server.port, load=ClosedLoop(1), max_requests=4, timeout_s=1.0))
    assert result.outcomes == {"ok": 3, outcome: 1}
    assert result.detail.startswith(f"{outcome}: ")


def test_an_error_answer_keeps_its_connection_and_its_words(serve, job: JobMaker) -> None:
    server = serve(lambda _n, _b: http(b"queue is full", "503 Service Unavailable"))
    result, _ = measured(job(server.port, load=ClosedLoop(1), max_requests=5))
    assert server.connections == 1
    assert result.detail == "http_503: 503 Service Unavailable: queue is full"


def test_a_refused_closed_loop_rests_instead_of_spinning(job: JobMaker, free_port: int) -> None:
    result, samples = measured(job(free_port, load=ClosedLoop(4), duration_s=0.5))
    assert set(result.outcomes) == {"refused"}
    # 4 clients that rest 10, 20, 40, ... ms cannot try often in half a second.
    assert 4 <= len(samples) <= 40
    assert (samples.sent_ns == 0).all()


def test_a_refused_open_loop_records_every_arrival(job: JobMaker, free_port: int) -> None:
    result, _ = measured(job(free_port, load=OpenLoop(500.0, Arrival.CONSTANT)))
    assert result.outcomes == {"refused": 100}
    assert result.detail == "refused: Connection refused"


def test_a_server_that_comes_up_late_is_used_from_then_on(
    serve, job: JobMaker, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    timer = threading.Timer(0.1, lambda: serve(port=free_port))

    def run_closed_then(*args: object) -> Window:
        timer.start()
        return run_closed(*args)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr("loadgen.engine.run_closed", run_closed_then)
    result, _ = measured(job(free_port, load=ClosedLoop(2), duration_s=20, max_requests=40))
    assert result.outcomes["refused"] >= 2
    assert result.outcomes["ok"] >= 2


def test_connections_closed_by_the_server_after_each_answer_are_replaced(serve, job: JobMaker) -> None:
    def once(number: int, body: bytes) -> bytes:
        return right(number, body).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)

    server = serve(once)
    result, _ = measured(job(server.port, max_requests=20))
    assert result.outcomes == {"ok": 20}
    assert server.connections == 20


def test_idle_connections_that_the_server_drops_harm_no_request(serve, job: JobMaker) -> None:
    server = serve(lambda n, b: right(n, b) + (b"unasked" if n % 2 else b""))
    result, _ = measured(job(server.port, load=OpenLoop(100.0, Arrival.CONSTANT)))
    assert result.outcomes == {"ok": 20}
    assert server.connections >= 10


def test_bodies_larger_than_the_socket_buffers_travel_whole(serve, job: JobMaker, tmp_path: Path) -> None:
    elements = 1_500_000
    x = np.random.default_rng(1).normal(size=(2, elements)).astype("<f4")
    path = tmp_path / "big.npz"
    np.savez(path, **{"in.x": x, "out.y": x * 2 + 1})

    def dawdle(number: int, body: bytes) -> bytes:
        time.sleep(0.02)
        return right(number, body)

    result, samples = measured(
        job(
            serve(dawdle).port,
            pool=path,
            inputs=(TensorSpec("x", DType.FP32, (elements,)),),
            outputs=(TensorSpec("y", DType.FP32, (elements,)),),
            max_requests=6,
            duration_s=30,
            timeout_s=30.0,
            verify_every=1,
        )
    )
    assert result.outcomes == {"ok": 6}
    assert result.verified == 6
    assert (samples.response_bytes > 4 * elements).all()
    assert (samples.first_byte_ns < samples.done_ns).all()


def test_an_early_answer_to_a_large_request_is_that_answer(serve, job: JobMaker) -> None:
    # The server answers on the head alone and closes while the body is still coming.
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse_body() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(100)
                sock.sendall(http(b"too large", "413 Content Too Large"))
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass

        thread = threading.Thread(target=refuse_body)
        thread.start()
        big = job(listener.getsockname()[1], load=ClosedLoop(1), max_requests=1, batch=200_000)
        result, _ = measured(big)
        thread.join(5)
    assert result.outcomes == {"http_4xx": 1}


FAULTS = st.sampled_from(["right", "stall", RESET, CLOSE, HANG, "503", "garbage", "half", "last"])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.lists(FAULTS, min_size=1, max_size=12),
    rate=st.sampled_from([50.0, 400.0]),
    connections=st.sampled_from([1, 3, 512]),
    seed=st.integers(0, 1000),
)
def test_every_scheduled_arrival_ends_exactly_once(
    serve,
    job: JobMaker,
    faults: list[str],
    rate: float,
    connections: int,
    seed: int,
) -> None:
    def behave(number: int, body: bytes) -> bytes | str:
        match faults[number % len(faults)]:
            case "stall":
                time.sleep(0.03)
            case "503":
                return http(b"", "503 Service Unavailable")
            case "garbage":
                return b"\x00\xff" * 40_000
            case "half":
                return b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n123"
            case "last":
                return right(number, body).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
            case "reset" | "close" | "hang" as name:
                return name
        return right(number, body)

    load = OpenLoop(rate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loadgen.engine._MAX_CONNECTIONS", connections)
        server = serve(behave)
        result, samples = measured(
            job(server.port, load=load, duration_s=0.15, timeout_s=0.06, seed=seed, verify_every=1)
        )
    offsets = offsets_ns(load, 0.15, seed)
    assert (samples.intended_ns - result.started_ns).tolist() == offsets.tolist()
    assert {Outcome(code) for code in samples.outcome} <= set(Outcome)
    assert len(server.bodies) <= len(offsets)
    assert result.wrong == 0


def test_a_pool_that_does_not_fit_the_model_is_one_sentence(job: JobMaker, tmp_path: Path) -> None:
    with pytest.raises(NightbenchError, match=r"'in.x' is float32 \[3\], the model wants FP32 \[4\]"):
        run(job(1, inputs=(TensorSpec("x", DType.FP32, (4,)),)))
    with pytest.raises(NightbenchError, match=r"there is no array 'out\.z'"):
        run(job(1, outputs=(TensorSpec("z", DType.FP32, (3,)),)))
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(NightbenchError, match=r"text\.npz: cannot be read"):
        run(job(1, pool=tmp_path / "text.npz"))


@pytest.mark.parametrize("load", [ClosedLoop(3), OpenLoop(2.5, Arrival.CONSTANT)])
def test_jobs_and_results_survive_json(job: JobMaker, load: ClosedLoop | OpenLoop) -> None:
    given_job = job(5, load=load, cpus=(0, 1))
    assert job_from_json(job_to_json(given_job)) == given_job
    result = JobResult.failed("because")
    assert result_from_json(result_to_json(result)) == result
    assert json.loads(job_to_json(given_job))["batch"] == 1
    with pytest.raises(NightbenchError, match=r"not a job: .* at batch"):
        job_from_json(json.dumps(json.loads(job_to_json(given_job)) | {"batch": "many"}).encode())
