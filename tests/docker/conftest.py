"""One real engine for a whole run of these tests (`tests.docker.engine`), named to every client by the environment.

``NIGHTBENCH_TEST_ENGINE`` names a folder to keep its images in, for the next run to find them built.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.docker.base import BASE
from tests.docker.engine import Running, engine


def pytest_configure(config: pytest.Config) -> None:
    # The conformance suite's own, some of whose tests are made of containers here.
    config.addinivalue_line("markers", "check(name): the column of the matrix that a test fills")
    config.addinivalue_line("markers", "servers(which): made for some servers only")
    config.addinivalue_line("markers", "protocols(which): made for some protocols only")


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Running]:
    """An engine with the base image in it, ended with all that was started there."""
    kept = os.environ.get("NIGHTBENCH_TEST_ENGINE")
    folder = Path(kept) if kept else Path(mkdtemp(prefix="nightbench-docker-"))
    with pytest.MonkeyPatch.context() as patch, engine(folder, keep=kept is not None) as running:
        for name, value in running.env.items():
            patch.setenv(name, value)
        patch.setenv("NIGHTBENCH_IMAGE_BASE", BASE)
        yield running
    if kept is None:
        shutil.rmtree(folder)
