"""One real engine for a whole run of these tests (`tests.docker.engine`), named to every client by the environment.

``NIGHTBENCH_TEST_ENGINE`` names a folder to keep its images in, for the next run to find them built.
``--image NAME`` chooses the servers that the conformance suite's checks are asked of (`test_conformance`).
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from nightbench.errors import UsageError, nearest
from servers import discover
from tests.docker.base import BASE
from tests.docker.engine import Running, engine

BUILT = {name: spec for name, spec in discover().items() if (spec.folder / "Dockerfile").exists()}
"""The servers whose images are made here."""
USUAL = ("fastapi", "flask", "onnxruntime", "triton")
"""Those that every run of these tests asks: small, and each unlike the others."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("containers")
    group.addoption(
        "--image",
        action="append",
        default=[],
        help=f"a server whose image is to pass the conformance suite's checks, or all; by default {', '.join(USUAL)}",
    )


def asked_for(config: pytest.Config) -> tuple[str, ...]:
    """The servers chosen by ``--image``."""
    chosen: list[str] = config.getoption("--image")
    return tuple(BUILT) if "all" in chosen else tuple(chosen) or USUAL


def pytest_configure(config: pytest.Config) -> None:
    # The conformance suite's own, some of whose tests are made of containers here.
    config.addinivalue_line("markers", "check(name): the column of the matrix that a test fills")
    config.addinivalue_line("markers", "servers(which): made for some servers only")
    config.addinivalue_line("markers", "protocols(which): made for some protocols only")
    for name in asked_for(config):
        if name not in BUILT:
            raise pytest.UsageError(str(UsageError(f"--image: {name!r} is unknown; {nearest(name, BUILT)}")))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A check that none of the chosen servers is asked is left out, and not a test that is skipped."""
    left_out = [item for item in items if "subject" in getattr(item, "fixturenames", ()) and not _has_server(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _has_server(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and isinstance(callspec.params.get("subject"), str)


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
