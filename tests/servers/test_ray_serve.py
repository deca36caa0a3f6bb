"""What is special about Ray Serve: a cluster of its own, closed to everyone else, for each deployment."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from nightbench.model import Artifact, Format, Precision
from nightbench.server import OptionValue, ServeRequest
from servers.container import PYTHON
from servers.ray_serve import SERVER
from tests.servers.toy import MODEL


def request(workdir: Path, **options: OptionValue) -> ServeRequest:
    return ServeRequest(
        model=MODEL,
        artifact=Artifact("toy", Format.TORCHSCRIPT, Precision.FP32, "random", Path("/models/toy.pt"), "0" * 64, 1),
        options=SERVER.resolve(options),
        threads=2,
        host="127.0.0.1",
        ports={"http": 20000, "metrics": 20001},
        workdir=workdir,
        load_time_path=workdir / "load_time_ns",
        python=workdir / "env/bin/python",
        site_packages=workdir / "env/lib/python3.11/site-packages",
    )


def flags(argv: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in pairwise(argv) if name.startswith("--")}


def test_runs_isolated_in_its_own_folder_on_its_own_ports(tmp_path: Path) -> None:
    command = SERVER.command(request(tmp_path))
    given = flags(command.argv)
    assert command.argv[1] == "-I", "a folder named after ray must not shadow ray"
    assert (given["--host"], given["--port"], given["--metrics-port"]) == ("127.0.0.1", "20000", "20001")
    assert given["--workdir"] == str(tmp_path)
    assert given["--threads"] == command.env["OMP_NUM_THREADS"] == "2"


def test_in_a_container_its_metrics_are_at_the_containers_own_address(tmp_path: Path) -> None:
    asked = replace(request(tmp_path), python=PYTHON, host="0.0.0.0")  # noqa: S104 - the container's own
    assert SERVER.command(asked).env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "1"


def test_only_who_reads_the_working_directory_may_command_the_cluster(tmp_path: Path) -> None:
    tokens = set()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        env = SERVER.command(request(tmp_path / name)).env
        assert env["RAY_AUTH_MODE"] == "token"
        path = Path(env["RAY_AUTH_TOKEN_PATH"])
        assert path.parent == tmp_path / name
        assert path.stat().st_mode & 0o077 == 0
        tokens.add(path.read_text())
    assert len(tokens) == 2
    assert all(len(token) >= 32 for token in tokens)


def test_it_stays_on_this_machine_and_reports_to_nobody(tmp_path: Path) -> None:
    env = SERVER.command(request(tmp_path)).env
    assert env["RAY_USAGE_STATS_ENABLED"] == "0"
    assert env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


@pytest.mark.parametrize(
    ("option", "value"),
    [("num_replicas", 2), ("max_ongoing_requests", 5), ("max_batch_size", 8), ("batch_wait_timeout_s", 0.01)],
)
def test_an_option_reaches_it_by_its_own_name(tmp_path: Path, option: str, value: OptionValue) -> None:
    command = SERVER.command(request(tmp_path, **{option: value}))
    assert flags(command.argv)[f"--{option.replace('_', '-')}"] == str(value)


def test_one_replica_that_joins_nothing_unless_asked() -> None:
    given = SERVER.resolve({})
    assert (given["num_replicas"], given["max_batch_size"]) == (1, 1)
