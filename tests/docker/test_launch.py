"""Containers on a real engine: they come up, are shut off and limited, fail in sentences, and leave nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from launch.docker import DockerLauncher
from launch.engine import Engine, engine
from launch.process import alive
from launch.reaper import reap
from launch.request import LaunchRequest
from loadgen.telemetry import Telemetry
from nightbench.errors import DeploymentError
from nightbench.server import Command, Limits, ProbeStatus, Protocol, Stop
from tests.docker import engine as engines
from tests.docker.base import BASE
from tests.docker.engine import Running
from tests.docker.toys import make_request
from tests.launch.toys import ask, until

MIB = 2**20
ONE_CPU = Limits((min(os.sched_getaffinity(0)),))


@pytest.fixture
def docker(docker_engine: Running) -> Iterator[Engine]:
    """The engine; every container and network of ours must be gone after the test."""
    found = engine(docker_engine.url)
    yield found
    assert ours(found) == []
    found.client.close()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Where toys keep their files; working directories must be gone after the test."""
    yield tmp_path
    assert list((tmp_path / "workdirs").glob("*")) == []


def ours(found: Engine) -> list[str]:
    containers = found.client.containers.list(all=True, filters={"label": "nightbench.owner"}, sparse=True)
    networks = found.client.networks.list(filters={"label": "nightbench.owner"})
    return [*(str(each.id) for each in containers), *(str(each.name) for each in networks)]


def failure(docker: Engine, request: LaunchRequest) -> DeploymentError:
    with pytest.raises(DeploymentError) as caught, DockerLauncher(docker).launch(request, ask):
        pass
    assert ours(docker) == []
    return caught.value


def inside(docker: Engine, container: str | None, code: str) -> str:
    """What Python prints in a running container."""
    assert container is not None
    said = docker.client.containers.get(container).exec_run(["/usr/bin/python3", "-c", code])
    return str(said.output.decode()).strip()


def test_it_answers_directly_and_where_it_is_published(docker: Engine, root: Path) -> None:
    request = make_request(root, "Path('load_time_ns').write_text('42'); print('here I am'); serve()", limits=ONE_CPU)
    with DockerLauncher(docker).launch(request, ask) as deployment:
        endpoint = deployment.endpoints[Protocol.RAW_HTTP]
        assert endpoint.host != "127.0.0.1"
        published = docker.client.containers.get(str(deployment.container_id)).ports[f"{endpoint.port}/tcp"]
        assert published == [{"HostIp": "127.0.0.1", "HostPort": str(endpoint.port)}]
        assert alive(deployment)
        assert deployment.model_load_ns == 42
        assert deployment.rss_bytes is not None
        assert deployment.rss_bytes > MIB
        assert deployment.limits["network"] == "this machine only, by the bridge"
    assert not alive(deployment)
    assert "here I am" in request.log_path.read_text()


def test_it_can_do_nothing_but_serve(docker: Engine, root: Path) -> None:
    with DockerLauncher(docker).launch(make_request(root), ask) as deployment:
        status = inside(docker, deployment.container_id, "print(open('/proc/self/status').read())")
        said = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert {said[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
        assert said["NoNewPrivs"] == "1"
        assert "0" not in said["Uid"].split()
        for path in ("/here", "/srv/here", str(root / "d1" / "here")):
            tried = f"try: open({path!r}, 'w')\nexcept OSError as error: print(error.strerror)"
            assert inside(docker, deployment.container_id, tried) in {
                "Read-only file system",
                "No such file or directory",
            }
        for path in ("here", "/tmp/here", "/dev/shm/here"):  # noqa: S108  (of the container)
            assert inside(docker, deployment.container_id, f"print(open({path!r}, 'w').write('x'))") == "1"


def test_it_looks_up_no_name_and_reaches_no_other_machine(docker: Engine, root: Path) -> None:
    lookup = "import socket\ntry: socket.gethostbyname('example.org')\nexcept OSError as error: print('none')"
    hops = "print(open('/proc/sys/net/ipv4/ip_default_ttl').read())"
    with DockerLauncher(docker).launch(make_request(root), ask) as deployment:
        assert inside(docker, deployment.container_id, lookup) == "none"
        assert inside(docker, deployment.container_id, hops) == "1"


def test_processor_and_memory_are_limited_and_told(docker: Engine, root: Path) -> None:
    spin = """
for _ in range(2):
    if os.fork() == 0:
        while True: pass
serve()
"""
    limits = Limits(ONE_CPU.cpus, 128 * MIB)
    with DockerLauncher(docker).launch(make_request(root, spin, limits=limits), ask) as deployment:
        assert deployment.limits["memory"] == "cgroup"
        cpus = inside(docker, deployment.container_id, "import os; print(sorted(os.sched_getaffinity(0)))")
        assert cpus == str(list(limits.cpus or ()))
        with Telemetry(deployment.pid, None, 0.1, contained=True) as telemetry:
            begun_ns = time.monotonic_ns()
            assert until(lambda: len(figures(telemetry, begun_ns, "container_cpu_percent")) > 5)
        # Two that want a processor each get one between them.
        assert max(figures(telemetry, begun_ns, "container_cpu_percent")) < 150
        assert 0 < max(figures(telemetry, begun_ns, "container_memory_bytes")) <= 128 * MIB
        assert set(figures(telemetry, begun_ns, "container_oom_kills")) == {0.0}


def figures(telemetry: Telemetry, since_ns: int, metric: str) -> tuple[float, ...]:
    found = [each.values for each in telemetry.series(since_ns, time.monotonic_ns()) if each.metric == metric]
    return found[0] if found else ()


def test_one_that_takes_too_much_memory(docker: Engine, root: Path) -> None:
    grow = "print('growing')\nx = []\nwhile True: x.append(bytearray(8 << 20))"
    error = failure(docker, make_request(root, grow, limits=Limits(None, 64 * MIB)))
    assert (error.kind, error.detail) == ("died", f"was killed for memory (limit {64 * MIB} bytes)")
    assert error.log_tail == "growing"


def test_one_that_never_answers(docker: Engine, root: Path) -> None:
    error = failure(docker, make_request(root, "print('loading'); time.sleep(600)", ready_timeout_s=2.0))
    assert error.kind == "not_ready"
    assert error.log_tail == "loading"


def test_one_that_answers_wrongly(docker: Engine, root: Path) -> None:
    assert failure(docker, make_request(root, "serve(b'wrong')")).kind == "wrong_answer"


def test_one_that_dies_at_start_keeps_its_last_words(docker: Engine, root: Path) -> None:
    error = failure(docker, make_request(root, "print('no such model'); sys.exit(3)"))
    assert (error.detail, error.log_tail) == ("exited with code 3", "no such model")


def test_one_that_dies_under_load_is_seen_dead_and_says_why(docker: Engine, root: Path) -> None:
    body = "threading.Timer(0.0, lambda: (time.sleep(1), os.kill(os.getpid(), 11))).start(); serve()"
    request = make_request(root, body)
    with DockerLauncher(docker).launch(request, ask) as deployment:
        assert until(lambda: not alive(deployment))
    assert "the container had ended: was killed by SIGSEGV" in request.log_path.read_text()


def test_one_that_ignores_being_asked_to_leave(docker: Engine, root: Path) -> None:
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); serve()"
    with DockerLauncher(docker).launch(make_request(root, deaf, stop=Stop(grace_s=1.0)), ask) as deployment:
        pass
    assert not alive(deployment)


def test_one_that_tidies_up_is_given_the_time(docker: Engine, root: Path) -> None:
    tidy = "signal.signal(signal.SIGINT, lambda *_: (print('tidied'), sys.exit(0))); serve()"
    request = make_request(root, tidy, stop=Stop("SIGINT", 10.0))
    with DockerLauncher(docker).launch(request, ask):
        pass
    assert "tidied" in request.log_path.read_text()


def test_one_that_forks_and_hides_leaves_nobody(docker: Engine, root: Path) -> None:
    hides = """
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
serve()
"""
    with DockerLauncher(docker).launch(make_request(root, hides), ask) as deployment:
        assert until(lambda: len(psutil.Process(deployment.pid).children(recursive=True)) >= 4)
        hidden = psutil.Process(deployment.pid).children(recursive=True)
    assert until(lambda: not any(each.is_running() for each in hidden))


def test_a_lost_port_leaves_no_half_made_container(docker: Engine, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    with DockerLauncher(docker).launch(make_request(root, deployment="first"), ask) as first:
        taken = first.endpoints[Protocol.RAW_HTTP].port

        @contextmanager
        def reserve(*_: object) -> Iterator[tuple[int, ...]]:
            yield (taken,)

        monkeypatch.setattr("launch.docker.reserve", reserve)
        with (
            pytest.raises(DeploymentError, match="another process took its port"),
            DockerLauncher(docker).launch(make_request(root, deployment="second"), ask),
        ):
            pass
        assert len(ours(docker)) == 2  # the first container and its network
        assert ask(first.endpoints[Protocol.RAW_HTTP], 5.0).status is ProbeStatus.READY


def test_what_cannot_be_started_is_a_sentence(docker: Engine, root: Path) -> None:
    assert failure(docker, make_request(root, from_image="nightbench/absent:1")).kind == "no_image"
    assert failure(docker, make_request(root, limits=Limits(gpus=("all",)))).kind == "no_gpu"
    nothing = failure(docker, make_request(root, command=lambda _: Command(("/no/such/program",))))
    assert nothing.kind == "died"
    assert "/no/such/program" in nothing.detail + nothing.log_tail


OWNER = """
import sys, time
from pathlib import Path
from launch.docker import DockerLauncher
from launch.engine import engine
from tests.docker.toys import make_request
from tests.launch.toys import ask
signal_raises = __import__("signal").signal(15, lambda *_: sys.exit(143))
with DockerLauncher(engine()).launch(make_request(Path(sys.argv[1])), ask):
    Path(sys.argv[1], "up").touch()
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_takes_it_along_or_the_next_command_does(
    docker: Engine, root: Path, number: signal.Signals
) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(root)]) as owner:
        assert until((root / "up").exists, 60.0)
        assert len(ours(docker)) == 2
        reap(root / "workdirs")
        assert len(ours(docker)) == 2
        owner.send_signal(number)
    reaped = {one.kind for one in reap(root / "workdirs")}
    assert ({"container", "network"} <= reaped) is (number is signal.SIGKILL)
    assert ours(docker) == []


@pytest.mark.parametrize(
    ("gpus", "visible"), [(("all",), "all"), (("0", "2"), "0,2"), (("GPU-8f1c", "GPU-77aa"), "GPU-8f1c,GPU-77aa")]
)
def test_it_is_given_the_gpus_asked_for(with_gpu_hook: Engine, root: Path, gpus: tuple[str, ...], visible: str) -> None:
    with DockerLauncher(with_gpu_hook).launch(make_request(root, limits=Limits(gpus=gpus)), ask) as deployment:
        container = with_gpu_hook.client.containers.get(str(deployment.container_id))
        environment = Path(f"/proc/{deployment.pid}/environ").read_text()
        assert f"NVIDIA_VISIBLE_DEVICES={visible}\0" in environment
        assert container.attrs["HostConfig"]["DeviceRequests"][0]["Capabilities"] == [["gpu"]]
        assert deployment.limits["gpus"] == f"device request {','.join(gpus)}"


@pytest.fixture(scope="module")
def with_gpu_hook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that believes in NVIDIA's runtime, whose hook does nothing."""
    programs = tmp_path_factory.mktemp("hook")
    hook = programs / "nvidia-container-runtime-hook"
    hook.write_text("#!/bin/sh\nexit 0\n")
    hook.chmod(0o755)
    with engines.engine(tmp_path_factory.mktemp("gpu"), path=programs) as running:
        yield engine(running.url)


def test_a_tag_that_was_moved_meanwhile_starts_the_image_on_record(docker: Engine, root: Path) -> None:
    found = docker.client.images.get(BASE)
    request = make_request(root)
    moved = replace(request.environment, image="nightbench/moved:away", image_digest=str(found.id))
    with DockerLauncher(docker).launch(replace(request, environment=moved), ask) as deployment:
        container = docker.client.containers.get(str(deployment.container_id))
        assert container.attrs["Image"] == found.id
