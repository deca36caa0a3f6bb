"""Fixtures that start real servers on the toy model."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp

import pytest

from nightbench.model import Artifact, Format
from nightbench.server import OptionValue
from servers import discover
from tests.servers.running import Running, Start, running, serve_request
from tests.servers.toy import MODEL, artifact


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Artifact]:
    folder = tmp_path_factory.mktemp("artifacts")
    return {format_: artifact(format_, folder) for format_ in MODEL.formats}


@pytest.fixture(scope="module")
def start(artifacts: dict[Format, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a server by name and wait until it is healthy. All end after the module, and leave nothing behind."""
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:

        def begin(name: str, format_: Format, health: str = "/healthz", **options: OptionValue) -> Running:
            spec = discover()[name]
            # Shared memory takes the folder's name, and /dev/shm is shared with other runs of these tests.
            workdir = Path(mkdtemp(prefix=f"nightbench-test-{name}-", dir=folder))
            request = serve_request(spec, artifacts[format_], workdir, **options)
            return stack.enter_context(running(request, spec, health))

        yield begin
