"""Servers come up, fail in ways that are told apart, and never outlive their block."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from launch.ports import is_free
from launch.process import ProcessLauncher, alive
from launch.workdir import SHARED_MEMORY
from nightbench.errors import DeploymentError, UsageError
from nightbench.server import (
    Command,
    Limits,
    Metrics,
    ProbeStatus,
    Protocol,
    ServeRequest,
    Stop,
)
from nightbench.stopping import Stopped
from tests.launch.toys import ask, make_request, runs, until

LAUNCHER = ProcessLauncher()


def pid_in(path: Path) -> int:
    assert until(lambda: path.exists() and path.read_text() != "")
    return int(path.read_text())


def test_comes_up_and_ends(root: Path) -> None:
    body = """
Path("load_time_ns").write_text("1234567")
time.sleep(0.3)
serve()
"""
    request = make_request(root, body, metrics=Metrics("http", "/metrics"))
    with LAUNCHER.launch(request, ask) as deployment:
        endpoint = deployment.endpoints[Protocol.RAW_HTTP]
        assert deployment.pid is not None
        assert alive(deployment)
        assert ask(endpoint, 1.0).status is ProbeStatus.READY
        assert endpoint.host == "127.0.0.1"
        assert endpoint.model == "net"
        assert deployment.cold_start_ns >= 300_000_000
        assert deployment.model_load_ns == 1234567
        assert deployment.rss_bytes is not None
        assert deployment.rss_bytes > 1_000_000
        assert deployment.metrics_url == f"http://127.0.0.1:{endpoint.port}/metrics"
        assert deployment.limits == {}
    assert not runs(deployment.pid)
    assert not alive(deployment)
    assert is_free(endpoint.port)


def test_sees_a_minimal_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    body = """
Path(os.environ["SCRATCH"], "env").write_text("\\n".join(f"{k}={v}" for k, v in os.environ.items()))
serve()
"""
    with LAUNCHER.launch(make_request(root, body, threads=3), ask):
        text = (root / "d1" / "env").read_text()
    env = dict(line.split("=", 1) for line in text.splitlines())
    assert "hunter2" not in text
    assert env["OMP_NUM_THREADS"] == env["MKL_NUM_THREADS"] == "3"
    # A server that phones home does so from a thread that is measured with it.
    assert env["ORT_DISABLE_TELEMETRY"] == "1"
    assert env["TMPDIR"].startswith(str(root / "workdirs"))
    assert env["NIGHTBENCH_RUN"] == "r1"
    assert env["NIGHTBENCH_DEPLOYMENT"] == "d1"


def test_waits_for_every_protocol(root: Path) -> None:
    body = """
import threading
threading.Thread(target=serve, daemon=True).start()
time.sleep(0.3)
port = int(sys.argv[2])
serve()
"""
    request = make_request(
        root, body, ports=("http", "grpc"), protocols={Protocol.KSERVE_HTTP: "http", Protocol.KSERVE_GRPC: "grpc"}
    )
    with LAUNCHER.launch(request, ask) as deployment:
        assert [ask(endpoint, 1.0).status for endpoint in deployment.endpoints.values()] == ["ready", "ready"]
        assert list(deployment.endpoints) == [Protocol.KSERVE_HTTP, Protocol.KSERVE_GRPC]


def test_one_that_never_answers(root: Path) -> None:
    request = make_request(root, "print('loading', flush=True); time.sleep(60)", ready_timeout_s=0.6)
    with pytest.raises(DeploymentError) as caught, LAUNCHER.launch(request, ask):
        pass
    assert caught.value.kind == "not_ready"
    assert "within 0.6 s" in caught.value.detail
    assert "refused" in caught.value.detail
    assert caught.value.log_tail == "loading"


def test_one_that_dies_at_start_keeps_its_last_words(root: Path) -> None:
    request = make_request(root, "print('\\x1b[31mno such model\\x1b[0m\\x00', file=sys.stderr); sys.exit(3)")
    with pytest.raises(DeploymentError) as caught, LAUNCHER.launch(request, ask):
        pass
    assert (caught.value.kind, caught.value.detail) == ("died", "exited with code 3")
    assert caught.value.log_tail == "no such model"
    assert request.log_path.read_bytes().count(b"no such model") == 1


def test_one_that_is_killed(root: Path) -> None:
    request = make_request(root, "os.kill(os.getpid(), 9)")
    with pytest.raises(DeploymentError, match="was killed by SIGKILL"), LAUNCHER.launch(request, ask):
        pass


def test_one_that_answers_wrongly(root: Path) -> None:
    with (
        pytest.raises(DeploymentError) as caught,
        LAUNCHER.launch(make_request(root, "serve(b'wrong')"), ask),
    ):
        pass
    assert (caught.value.kind, caught.value.detail) == ("wrong_answer", "it said 'wrong'")


def raising(error: Exception) -> Callable[[ServeRequest], Command]:
    def command(_request: ServeRequest) -> Command:
        raise error

    return command


@pytest.mark.parametrize(
    ("command", "detail"),
    [
        (raising(KeyError("grpc")), "its command could not be made: KeyError: 'grpc'"),
        (raising(UsageError("no\nsense")), "its command could not be made: UsageError: no sense"),
        (raising(OSError(28, "disk full")), "its command could not be made: OSError: [Errno 28] disk full"),
        (raising(DeploymentError("died", "no such library")), "no such library"),
        (lambda _request: None, "its command could not be made: None is not a Command"),
        (lambda _request: Command(("a\0b",)), "a\0b could not be started: embedded null byte"),
        (lambda _request: Command((sys.executable, 8000)), f"{sys.executable} could not be started: expected str"),
    ],
)
def test_one_whose_folder_is_faulty_costs_itself_only(
    root: Path, command: Callable[[ServeRequest], Command], detail: str
) -> None:
    with pytest.raises(DeploymentError) as caught:
        LAUNCHER.launch(make_request(root, command=command), ask).__enter__()
    assert caught.value.kind == "died"
    assert caught.value.detail.startswith(detail)


def test_one_whose_program_is_missing(root: Path) -> None:
    request = make_request(root)
    missing = replace(request.environment, python=request.environment.python.with_name("no-such-python"))
    request = replace(request, environment=missing)
    with pytest.raises(DeploymentError, match=r"died: .*no-such-python could not be started"):
        LAUNCHER.launch(request, ask).__enter__()


def test_being_told_to_stop(root: Path) -> None:
    request = make_request(root, f"Path({str(root)!r}, 'pid').write_text(str(os.getpid())); time.sleep(60)")
    pid_file = root / "pid"
    with pytest.raises(Stopped, match="stopped while toy was starting"):
        LAUNCHER.launch(request, ask, should_stop=pid_file.exists).__enter__()
    assert not runs(pid_in(pid_file))


def test_dying_later_is_seen(root: Path) -> None:
    with LAUNCHER.launch(make_request(root), ask) as deployment:
        assert deployment.pid is not None
        os.kill(deployment.pid, signal.SIGKILL)
        assert until(lambda: not alive(deployment))


@pytest.mark.parametrize("leave", ["quietly", "by exception", "by interrupt"])
def test_ends_with_children_that_hid_in_another_session(root: Path, leave: str) -> None:
    body = """
import subprocess
child = subprocess.Popen(["sleep", "60"], start_new_session=True, env={})
Path(os.environ["SCRATCH"], "child").write_text(str(child.pid))
daemon = "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); \\
open(os.environ['SCRATCH'] + '/daemon', 'w').write(str(os.getpid())); time.sleep(60)"
subprocess.run([sys.executable, "-c", daemon])
serve()
"""
    pids = []

    def use() -> None:
        with LAUNCHER.launch(make_request(root, body), ask) as deployment:
            assert deployment.pid is not None
            pids.extend([deployment.pid, pid_in(root / "d1" / "child"), pid_in(root / "d1" / "daemon")])
            assert all(runs(pid) for pid in pids)
            if leave == "by exception":
                raise RuntimeError("in the block")
            if leave == "by interrupt":
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(10)

    if leave == "quietly":
        use()
    else:
        with pytest.raises(RuntimeError if leave == "by exception" else KeyboardInterrupt):
            use()
    assert not any(runs(pid) for pid in pids)


def test_ends_one_that_ignores_sigterm(root: Path) -> None:
    body = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); serve()"
    with LAUNCHER.launch(make_request(root, body, stop=Stop(grace_s=0.3)), ask) as deployment:
        assert deployment.pid is not None
    assert not runs(deployment.pid)


def test_lets_a_server_leave_politely(root: Path) -> None:
    body = """
import signal
def bye(*_):
    time.sleep(0.2)
    print("bye", flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, bye)
serve()
"""
    request = make_request(root, body, stop=Stop("SIGINT", 5.0))
    with LAUNCHER.launch(request, ask):
        pass
    assert request.log_path.read_text() == "bye\n"


def test_ends_a_frozen_one(root: Path) -> None:
    with LAUNCHER.launch(make_request(root, stop=Stop(grace_s=0.2)), ask) as deployment:
        assert deployment.pid is not None
        os.kill(deployment.pid, signal.SIGSTOP)
    assert not runs(deployment.pid)


def test_two_side_by_side(root: Path) -> None:
    one, two = make_request(root, deployment="d1"), make_request(root, deployment="d2")
    with LAUNCHER.launch(one, ask) as first:
        with LAUNCHER.launch(two, ask) as second:
            assert first.endpoints[Protocol.RAW_HTTP].port != second.endpoints[Protocol.RAW_HTTP].port
        assert second.pid is not None
        assert not runs(second.pid)
        assert ask(first.endpoints[Protocol.RAW_HTTP], 1.0).status is ProbeStatus.READY


def test_tries_again_when_its_port_was_taken(root: Path) -> None:
    """The first start finds its port taken by a stranger who even answers rightly; the second gets another."""
    body = """
marker = Path(os.environ["SCRATCH"], "stolen")
if not marker.exists():
    marker.write_text(str(port))
    time.sleep(60)
serve()
"""
    marker = root / "d1" / "stolen"
    done = threading.Event()

    def steal() -> None:
        port = pid_in(marker)
        with socket.create_server(("127.0.0.1", port)) as listener:
            listener.settimeout(0.05)
            while not done.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.sendall(b"right")

    thief = threading.Thread(target=steal)
    thief.start()
    try:
        with LAUNCHER.launch(make_request(root, body), ask) as deployment:
            assert deployment.endpoints[Protocol.RAW_HTTP].port != pid_in(marker)
    finally:
        done.set()
        thief.join()


def test_a_full_range_is_a_failed_deployment(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        request = replace(make_request(root), ports=(port, port))
        with pytest.raises(DeploymentError) as caught:
            LAUNCHER.launch(request, ask).__enter__()
    assert caught.value.kind == "no_port"
    assert f"0 of the ports {port}-{port} are free, but 1 is needed" in caught.value.detail


def test_cpus_hold_for_every_thread_and_child(root: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    body = """
import subprocess
def seen():
    return ",".join(map(str, os.sched_getaffinity(0)))
child = subprocess.run([sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"], capture_output=True)
Path(os.environ["SCRATCH"], "cpus").write_text(seen() + " " + child.stdout.decode().strip())
serve()
"""
    before = os.sched_getaffinity(0)
    with LAUNCHER.launch(make_request(root, body, limits=Limits(cpus=(cpu,))), ask) as deployment:
        assert deployment.limits == {"cpus": f"affinity {cpu}"}
        assert (root / "d1" / "cpus").read_text() == f"{cpu} {cpu}"
    assert os.sched_getaffinity(0) == before


def test_a_cpu_that_is_not_ours(root: Path) -> None:
    with pytest.raises(UsageError, match="limits: cpus: 4095 cannot be had; choose from "):
        LAUNCHER.launch(make_request(root, limits=Limits(cpus=(4095,))), ask).__enter__()


def test_memory_is_held_as_far_as_claimed(root: Path) -> None:
    limit = 64 * 1024**2
    request = make_request(root, "block = b'x' * (256 * 1024**2); serve()", limits=Limits(memory_bytes=limit))
    outcome = f"was killed for memory (limit {limit} bytes)"
    try:
        with LAUNCHER.launch(request, ask) as deployment:
            claim, used_bytes = deployment.limits["memory"], deployment.rss_bytes or 0
    except DeploymentError as error:
        claim, used_bytes, outcome = "cgroup", limit, error.detail
    # It needs four times what it may have: it comes up only where the limit is said not to be held.
    assert claim.startswith("not enforced: ") == (used_bytes > limit)
    assert outcome == f"was killed for memory (limit {limit} bytes)"


def test_removes_its_own_shared_memory_only(root: Path) -> None:
    body = f"""
Path({str(SHARED_MEMORY)!r}, Path.cwd().name + "_region").write_text("x")
Path({str(SHARED_MEMORY)!r}, "nightbench-test-bystander").write_text("x")
serve()
"""
    bystander = SHARED_MEMORY / "nightbench-test-bystander"
    try:
        with LAUNCHER.launch(make_request(root, body), ask):
            (workdir,) = (root / "workdirs").iterdir()
            segment = SHARED_MEMORY / f"{workdir.name}_region"
            assert segment.exists()
        assert not segment.exists()
        assert bystander.exists()
    finally:
        bystander.unlink(missing_ok=True)
