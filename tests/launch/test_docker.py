"""The container launcher against an engine of Python objects: what it asks for, and what it makes of refusals."""

import os
from pathlib import Path
from typing import cast

import pytest
import requests
from docker import DockerClient

from launch.docker import DockerLauncher
from launch.engine import Engine
from launch.request import LaunchRequest
from launch.workdir import marked_engines
from nightbench.errors import DeploymentError
from nightbench.server import Command, Deployment, Limits, Metrics, Protocol, ServeRequest, Stop
from nightbench.stopping import Stopped
from tests.launch.fake_engine import FakeEngine, api_error
from tests.launch.toys import ask, make_request

MIB = 2**20


def launcher(fake: FakeEngine) -> DockerLauncher:
    return DockerLauncher(Engine(cast("DockerClient", fake), "unix:///nowhere.sock", "1.0"))


def failure(fake: FakeEngine, request: LaunchRequest) -> DeploymentError:
    with pytest.raises(DeploymentError) as caught, launcher(fake).launch(request, ask):
        pass
    assert fake.left == []
    return caught.value


@pytest.fixture
def fake() -> FakeEngine:
    return FakeEngine()


def test_comes_up_on_loopback_and_is_removed(root: Path, fake: FakeEngine) -> None:
    request = make_request(root, metrics=Metrics("http", "/metrics"), stop=Stop("SIGINT", 2.5))
    with launcher(fake).launch(request, ask) as deployment:
        endpoint = deployment.endpoints[Protocol.RAW_HTTP]
        assert endpoint.host == "127.0.0.1"
        assert deployment.container_id == "c0"
        assert deployment.cold_start_ns is not None
        assert deployment.metrics_url == f"http://127.0.0.1:{endpoint.port}/metrics"
        assert deployment.limits == {"network": "this machine only, by Docker's proxy"}
    (container,) = fake.made
    assert container.stopped == [3]
    assert container.asked["stop_signal"] == "SIGINT"
    assert fake.left == []
    assert request.log_path.read_text() == "loading\n"


def test_an_image_and_its_digest_are_told(root: Path, fake: FakeEngine) -> None:
    from dataclasses import replace

    request = make_request(root)
    request = replace(request, environment=replace(request.environment, image="nb/toy:1", image_digest="sha256:ab"))
    with launcher(fake).launch(request, ask) as deployment:
        assert (deployment.image, deployment.image_digest) == ("nb/toy:1", "sha256:ab")
    # By its bytes: somebody may have moved the tag since it was looked up.
    assert fake.made[0].image == "sha256:ab"
    official = "vendor/toy:1@sha256:cd"
    request = replace(
        request, environment=replace(request.environment, image=official, image_digest="sha256:cd"), deployment_id="d2"
    )
    with launcher(fake).launch(request, ask):
        pass
    # A registry's digest is no name by itself.
    assert fake.made[1].image == official


def test_limits_are_the_process_launchers(root: Path, fake: FakeEngine) -> None:
    with launcher(fake).launch(make_request(root, limits=Limits((0, 2), 64 * MIB)), ask) as deployment:
        assert deployment.limits["cpus"] == "cpuset 0,2"
        assert deployment.limits["memory"] == "cgroup"
    asked = fake.made[0].asked
    assert asked["cpuset_cpus"] == "0,2"
    assert asked["mem_limit"] == asked["memswap_limit"] == 64 * MIB


def test_a_command_of_its_own_listens_where_the_port_is_published(root: Path, fake: FakeEngine) -> None:
    seen: list[ServeRequest] = []

    def container(request: ServeRequest) -> Command:
        seen.append(request)
        return Command(("serve", "--model", str(request.artifact.path)), {"MODE": "fast"})

    with launcher(fake).launch(make_request(root, container=container), ask):
        pass
    asked, (serve,) = fake.made[0].asked, seen
    assert serve.host == "0.0.0.0"  # noqa: S104  (of the container)
    assert asked["ports"] == {f"{port}/tcp": ("127.0.0.1", port) for port in serve.ports.values()}
    assert (asked["entrypoint"], asked["command"][0]) == (["serve"], "--model")
    assert asked["environment"]["MODE"] == "fast"


def test_without_arguments_the_images_own_entry_point_runs(root: Path, fake: FakeEngine) -> None:
    with launcher(fake).launch(make_request(root, container=lambda _: Command((), {"PORT": "1"})), ask):
        pass
    assert not {"entrypoint", "command"} & fake.made[0].asked.keys()


def test_everything_bears_labels_by_which_it_is_found(root: Path, fake: FakeEngine) -> None:
    with launcher(fake).launch(make_request(root), ask):
        pass
    for asked in (fake.made[0].asked, fake.bridges[0].asked):
        labels = asked["labels"]
        assert (labels["nightbench.run"], labels["nightbench.deployment"]) == ("r1", "d1")
        assert labels["nightbench.owner"] == fake.made[0].asked["environment"]["NIGHTBENCH_OWNER"]


@pytest.mark.parametrize(
    ("end", "detail"),
    [
        ({"ExitCode": 3}, "exited with code 3"),
        ({"ExitCode": 139}, "was killed by SIGSEGV"),
        ({"ExitCode": 137, "OOMKilled": True}, "was killed for memory (limit 67108864 bytes)"),
        ({"ExitCode": 137, "OOMKilled": False}, "was killed by SIGKILL"),
        ({"ExitCode": 127, "Error": "no such\nfile"}, "could not be run: no such file"),
    ],
)
def test_how_it_ended_is_told_apart(root: Path, fake: FakeEngine, end: dict[str, object], detail: str) -> None:
    fake.end = {"Running": False, **end}
    error = failure(fake, make_request(root, limits=Limits(None, 64 * MIB)))
    assert (error.kind, error.detail) == ("died", detail)
    assert "loading" in error.log_tail


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        ('could not select device driver "nvidia" with capabilities: [[gpu]]', "no_gpu", "NVIDIA Container Toolkit"),
        ("No such image: toy:1", "no_image", "nightbench images"),
        ("write /var/lib/docker/x: no space left on device", "no_disk", "docker system prune"),
        ("failed to create shim task: cannot allocate memory", "died", "no memory left"),
        ("OCI runtime create failed: exec: not found", "died", "the engine did not start it: OCI runtime"),
    ],
)
def test_a_refusal_is_a_sentence(root: Path, fake: FakeEngine, words: str, kind: str, said: str) -> None:
    fake.refuse_start = [api_error(500, words)]
    error = failure(fake, make_request(root))
    assert error.kind == kind
    assert said in error.detail
    assert len(fake.made) == 1


def test_a_lost_port_is_tried_once_more_on_another(root: Path, fake: FakeEngine) -> None:
    lost = api_error(500, "Bind for 127.0.0.1:9 failed: port is already allocated")
    fake.refuse_start = [lost]
    with launcher(fake).launch(make_request(root), ask):
        half_made, container = fake.made
        assert half_made.removed
        assert not container.removed
    fake.refuse_start = [lost, lost]
    assert failure(fake, make_request(root)).detail == "another process took its port"


def test_one_that_never_answers_or_wrongly(root: Path, fake: FakeEngine) -> None:
    fake.answer = b""
    assert failure(fake, make_request(root)).kind == "wrong_answer"
    silent = make_request(root, ready_timeout_s=0.2)
    from nightbench.server import ProbeResult, ProbeStatus

    with (
        pytest.raises(DeploymentError, match=r"no right answer .* within 0.2 s"),
        launcher(fake).launch(silent, lambda *_: ProbeResult(ProbeStatus.NOT_YET, "nothing")),
    ):
        pass
    assert fake.left == []


@pytest.mark.parametrize("error", [RuntimeError("ours"), KeyboardInterrupt(), SystemExit(143)])
def test_it_is_removed_whatever_leaves_the_block(root: Path, fake: FakeEngine, error: BaseException) -> None:
    with pytest.raises(type(error)), launcher(fake).launch(make_request(root), ask):
        raise error
    assert fake.left == []


def test_a_second_ctrl_c_while_it_is_asked_to_leave_still_removes_it(root: Path, fake: FakeEngine) -> None:
    fake.interrupt_stop = True
    with pytest.raises(KeyboardInterrupt), launcher(fake).launch(make_request(root), ask):
        pass
    assert fake.left == []


def test_told_to_stop_while_it_starts(root: Path, fake: FakeEngine) -> None:
    with pytest.raises(Stopped), launcher(fake).launch(make_request(root), ask, lambda: True):
        pass
    assert fake.left == []


def test_an_engine_that_went_away_is_told_as_such(root: Path, fake: FakeEngine) -> None:
    fake.refuse_create = [cast("Exception", requests.exceptions.ConnectionError("reset by peer"))]
    error = failure(fake, make_request(root))
    assert error.kind == "no_engine"
    assert "unix:///nowhere.sock" in error.detail


@pytest.mark.parametrize("what", ["network", "container"])
def test_what_was_created_without_our_hearing_of_it_is_removed_as_well(root: Path, fake: FakeEngine, what: str) -> None:
    fake.lose_answers = what
    assert failure(fake, make_request(root)).kind == "no_engine"
    assert (fake.made if what == "container" else fake.bridges) != []


def test_an_engine_s_own_process_ids_are_not_taken_for_ours(root: Path, fake: FakeEngine) -> None:
    fake.end = {"Pid": os.getpid()}
    with launcher(fake).launch(make_request(root), ask) as deployment:
        assert (deployment.pid, deployment.rss_bytes) == (None, None)


def test_nothing_that_the_container_can_write_says_which_engine_to_ask(root: Path, fake: FakeEngine) -> None:
    with launcher(fake).launch(make_request(root), ask):
        assert marked_engines(root / "workdirs", lambda _: True) == ["unix:///nowhere.sock"]
        (mark,) = (root / "workdirs").glob("*.engine")
        sources = [Path(each["Source"]) for each in fake.made[0].asked["mounts"]]
        assert not any(mark.is_relative_to(source) for source in sources)
    assert marked_engines(root / "workdirs", lambda _: True) == []


def test_what_ended_under_load_says_so_in_its_log(root: Path, fake: FakeEngine) -> None:
    request = make_request(root, limits=Limits(None, 64 * MIB))
    with launcher(fake).launch(request, ask) as deployment:
        assert isinstance(deployment, Deployment)
        fake.made[0].state |= {"Running": False, "ExitCode": 137, "OOMKilled": True}
    assert "the container had ended: was killed for memory" in request.log_path.read_text()
