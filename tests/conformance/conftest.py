"""Every check of every server of the registry; what passed is kept, and printed as a table of server and check.

``--server NAME`` (repeatable) chooses servers; ``--remaining`` leaves out those that passed all of it before and have
not changed since. Environments are built on first use, which takes minutes and gigabytes for some.
"""

import shutil
import sys
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

import servers
from launch.here import missing
from nightbench.errors import UsageError, nearest
from nightbench.server import ServerSpec
from nightbench.settings import Settings
from tests.conformance.apart import apart
from tests.conformance.checks import COLUMNS
from tests.conformance.matrix import Matrix
from tests.conformance.subject import Subject
from tests.conformance.traces import COMMON

SETTINGS = Settings.from_environment()
SPECS = servers.discover(SETTINGS.servers_path)
ABSENT = {name: absent for name, spec in SPECS.items() if (absent := missing(spec))}
MATRIX = Matrix(SETTINGS.home, SPECS)
ALONE = {
    "test_tf_standin.py": {"tensorflow-serving"},
    "test_savedmodel_operators.py": {"tensorflow-serving"},
    "test_triton_repository.py": {"triton"},
    "test_arena_architectures.py": {name for name in SPECS if name.startswith("arena")},
}
"""Files of checks that are not made of every server, and whose they are."""
SCRATCH: list[Path] = []
"""Temporary files of this run, where it could be given folders of its own."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--server", action="append", default=[], help="a server to check; by default all that can run here")
    group.addoption("--remaining", action="store_true", help="leave out servers that passed all and have not changed")
    group.addoption(
        "--all-models", action="store_true", help="every model of model_repository/, not only the tiny ones"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What is about one server alone is left out where others are chosen."""
    wanted = set(config.getoption("--server"))
    return True if wanted and not wanted & ALONE.get(collection_path.name, wanted) else None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "check(name): the column of the matrix that a test fills")
    config.addinivalue_line("markers", "servers(which): made for some servers only")
    config.addinivalue_line("markers", "protocols(which): made for some protocols only")
    for name in config.getoption("--server"):
        if name not in SPECS:
            raise pytest.UsageError(str(UsageError(f"--server: {name!r} is unknown; {nearest(name, SPECS)}")))
    if not config.getoption("collectonly"):
        SETTINGS.home.mkdir(parents=True, exist_ok=True)
        SCRATCH.append(Path(mkdtemp(prefix="conformance-", dir=SETTINGS.home)))
        needed = (SETTINGS.home, SETTINGS.cache, *SETTINGS.servers_path, config.rootpath, Path(sys.prefix))
        apart(COMMON, needed, SCRATCH[0])


def pytest_sessionfinish(exitstatus: int) -> None:
    """Logs are kept where a check failed."""
    for folder in SCRATCH if exitstatus in {0, pytest.ExitCode.NO_TESTS_COLLECTED} else ():
        shutil.rmtree(folder, ignore_errors=True)


def _chosen(metafunc: pytest.Metafunc) -> list[ServerSpec]:
    wanted = metafunc.config.getoption("--server") or SPECS
    mark = metafunc.definition.get_closest_marker("servers")
    return [SPECS[name] for name in wanted if name not in ABSENT and (mark is None or mark.args[0](SPECS[name]))]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" not in metafunc.fixturenames:
        return
    chosen = _chosen(metafunc)
    if "protocol" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("protocols")
        pairs = [
            (spec.name, protocol)
            for spec in chosen
            for protocol in spec.protocols
            if mark is None or mark.args[0](protocol)
        ]
        ids = [f"{name}-{protocol}" for name, protocol in pairs]
        metafunc.parametrize(("subject", "protocol"), pairs, indirect=["subject"], ids=ids, scope="session")
    else:
        names = [spec.name for spec in chosen]
        metafunc.parametrize("subject", names, indirect=True, ids=names, scope="session")


def _server_of(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    name = callspec.params.get("subject") if callspec else None
    return name if isinstance(name, str) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tests: dict[str, list[str]] = defaultdict(list)
    for item in items:
        if name := _server_of(item):
            tests[name].append(item.name)
    done = {name for name in tests if config.getoption("--remaining") and MATRIX.row(name).passed(tests[name])}
    # A check that none of the chosen servers is asked is a test without a server.
    left_out = [item for item in items if "subject" in _wanted(item) and _server_of(item) in {None, *done}]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _wanted(item: pytest.Item) -> list[str]:
    return list(getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    found = Subject(SPECS[request.param], tmp_path_factory.mktemp(request.param))
    yield found
    found.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    name, mark = _server_of(item), item.get_closest_marker("check")
    if name and mark and (report.failed or report.when == "call"):
        MATRIX.row(name).note(mark.args[0], item.name, _sentence(call) if report.failed else "")
        MATRIX.save()
    return report


def _sentence(call: pytest.CallInfo[None]) -> str:
    error = call.excinfo.value if call.excinfo else "it failed"
    first = str(error).strip().partition("\n")[0]
    return first[:300] or type(error).__name__


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if terminalreporter.config.getoption("collectonly", default=False):
        return
    table = MATRIX.write(COLUMNS, ABSENT)
    terminalreporter.section("conformance")
    terminalreporter.write_line(table)
    terminalreporter.write_line(f"in {MATRIX.path}")
    for folder in SCRATCH:
        if any(folder.glob("*/*")):
            terminalreporter.write_line(f"logs in {folder}")
