"""What the conformance suite asks of servers as processes, asked of the same servers in containers.

Left out is what is another matter there: whom it listens to (the launcher's own tests look at that from outside), and
which file its output goes to.

Asked of a few servers, `tests.docker.conftest.USUAL`; ``--image NAME`` (repeatable; or ``all``) asks others. An image
that is not there is built, which takes minutes and gigabytes for some.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from launch.container import spoken
from launch.docker import DockerLauncher
from launch.engine import Engine, engine
from launch.environment import Environment, pinned_version
from launch.images import ensure_image
from launch.workdir import SHARED_MEMORY
from nightbench.server import ServerSpec
from nightbench.settings import Settings
from servers.container import PYTHON, SITE_PACKAGES
from tests.conformance import traces
from tests.conformance.subject import Subject
from tests.conformance.test_answers import (
    test_concurrent_requests_never_mix_their_answers,
    test_it_starts_and_is_ready,
    test_its_answers_are_those_of_pytorch,
    test_so_are_they_from_its_other_formats,
)
from tests.conformance.test_bad_requests import test_it_refuses_and_serves_on
from tests.conformance.test_batching import test_requests_that_wait_together_run_together
from tests.conformance.test_manners import (
    test_a_second_one_runs_beside_it,
    test_it_stops_in_time_and_leaves_nothing,
    test_its_metrics_can_be_read_and_count_what_was_served,
    test_what_goes_wrong_stands_in_our_log,
)
from tests.docker.conftest import BUILT, asked_for
from tests.docker.engine import Running

__all__ = [
    "test_a_second_one_runs_beside_it",
    "test_concurrent_requests_never_mix_their_answers",
    "test_it_refuses_and_serves_on",
    "test_it_starts_and_is_ready",
    "test_it_stops_in_time_and_leaves_nothing",
    "test_its_answers_are_those_of_pytorch",
    "test_its_metrics_can_be_read_and_count_what_was_served",
    "test_requests_that_wait_together_run_together",
    "test_so_are_they_from_its_other_formats",
    "test_what_goes_wrong_stands_in_our_log",
]

# Of what they speak as processes, what their containers may speak to whoever runs these tests.
SPECS = {name: replace(spec, protocols=spoken(spec.protocols, os.getuid())) for name, spec in BUILT.items()}


class Contained(Subject):
    """The same server, its image in place of an environment."""

    def __init__(self, spec: ServerSpec, folder: Path, found: Engine) -> None:
        super().__init__(spec, folder)
        self._engine = found

    @cached_property
    def environment(self) -> Environment:
        base = Settings.from_environment().image_base
        image = ensure_image(self.spec, self._engine.url, self.folder / "image.log", print, base=base)
        version = pinned_version(self.spec)
        return Environment(
            PYTHON, SITE_PACKAGES, "image", version, image.built, 0, image=image.ref, image_digest=image.digest
        )

    @property
    def launcher(self) -> DockerLauncher:
        return DockerLauncher(self._engine)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """As the conformance suite's own."""
    mark = metafunc.definition.get_closest_marker("servers")
    chosen = [SPECS[name] for name in asked_for(metafunc.config) if mark is None or mark.args[0](SPECS[name])]
    if "protocol" not in metafunc.fixturenames:
        metafunc.parametrize("subject", [spec.name for spec in chosen], indirect=True, scope="session")
        return
    mark = metafunc.definition.get_closest_marker("protocols")
    pairs = [(spec.name, each) for spec in chosen for each in spec.protocols if mark is None or mark.args[0](each)]
    ids = [f"{name}-{protocol}" for name, protocol in pairs]
    metafunc.parametrize(("subject", "protocol"), pairs, indirect=["subject"], ids=ids, scope="session")


@pytest.fixture(scope="session")
def _apart() -> Iterator[None]:
    """Temporary files of this run alone: others' in ``/tmp`` are not ours to find. A short name, as sockets want."""
    with TemporaryDirectory(prefix="nightbench-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", folder)
        patch.setattr(traces, "COMMON", (Path(folder), SHARED_MEMORY))
        yield


@pytest.fixture(scope="session")
def subject(
    request: pytest.FixtureRequest, docker_engine: Running, tmp_path_factory: pytest.TempPathFactory, _apart: None
) -> Iterator[Subject]:
    folder = tmp_path_factory.mktemp(request.param)
    folder.chmod(0o755)  # the container's user is another, and is to find the broken model that a check leaves here
    found = Contained(SPECS[request.param], folder, engine(docker_engine.url))
    yield found
    found.end()


def test_every_container_is_gone_again(subject: Subject, docker_engine: Running) -> None:
    subject.end()
    assert docker_engine.containers() == []
    assert not [each for each in docker_engine.get("/networks") if each["Name"].startswith("nightbench-")]
