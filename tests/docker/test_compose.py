"""The compose file, whole: validated, brought up on a real engine, and a night run through its worker.

Postgres, the proxy, the migrations, the Prefect server and the worker are what they are in production, but for whose
packages their images are made of. Grafana cannot be had without a registry: what stands for it answers its health
check.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from flows.compose import SECRETS, addresses, bring_up, services
from tests.docker.engine import Running
from tests.docker.stack import IMAGES, make_images, pip_configuration
from tests.docker.stack.compose import copy_stack, install_compose, write_env

# As hard to quote as passwords get.
WORDS = {name: f"{name.lower()} $x'\"@:/{number}%" for number, name in enumerate(SECRETS)}
WORDS["PREFECT_AUTH"] = "nightbench:prefect $x'@/%"

OVERRIDE = """
services:
  worker:
    environment: {NIGHTBENCH_ENVIRONMENTS: host}
"""
SUITE = """
name: tiny
rounds: 1
measure: {warmup_s: 0.2, duration_s: 0.5, timeout_s: 3, calibrate: false}
parity_batches: [1]
launcher: process
sweeps:
  - models: [tiny_cnn]
    servers: [toy]
    loads: [{closed: 2}]
"""
NIGHT_TIMEOUT_S = 420.0


@dataclass(frozen=True)
class Stack:
    """The stack, up."""

    root: Path
    home: Path
    ports: dict[str, int]

    def compose(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            ("docker", "compose", *arguments), cwd=self.root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def prefect(self, path: str, body: object = None, auth: str = WORDS["PREFECT_AUTH"]) -> Any:
        """What Prefect's API answers; a POST where there is a body."""
        headers = {"Content-Type": "application/json"}
        if auth:
            headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.ports['PREFECT_PORT']}/api/{path}"
        request = urllib.request.Request(url, data, headers)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return json.load(answer)

    def sql(self, query: str, user: str, password: str) -> str:
        """Through the published port, as from a machine beside."""
        where = ("--host=127.0.0.1", f"--port={self.ports['POSTGRES_PORT']}", f"--username={user}")
        command = ("psql", *where, "--no-psqlrc", "--tuples-only", "--no-align", "--command", query, "nightbench")
        env = {**os.environ, "PGPASSWORD": password}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def stack(docker_engine: Running) -> Iterator[Stack]:
    """Up through the command's own code, from a copy of the repository."""
    folder = Path(tempfile.mkdtemp(prefix="nightbench-stack-"))
    folder.chmod(0o755)
    root = folder / "repository"
    root.mkdir()
    install_compose(Path(docker_engine.env["DOCKER_CONFIG"]), folder / "apt")
    copy_stack(root)
    make_images(os.environ)
    for name in ("home", "cache", "tmp"):
        (folder / name).mkdir()
        os.chown(folder / name, 12345, 12345)
    shutil.copytree(Path(__file__).parents[1] / "toys", folder / "home" / "toys")
    (folder / "home" / "tiny.yaml").write_text(SUITE)
    (root / "test.yml").write_text(OVERRIDE)
    ports = {name: _free_port() for name in ("POSTGRES_PORT", "PREFECT_PORT", "GRAFANA_PORT")}
    stack = Stack(root, folder / "home", ports)
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, folder)
        pip = ending.enter_context(pip_configuration(folder))
        values = {
            **WORDS,
            **IMAGES,
            **ports,
            "NIGHTBENCH_HOME": folder / "home",
            "NIGHTBENCH_CACHE": folder / "cache",
            "NIGHTBENCH_TMP": folder / "tmp",
            "NIGHTBENCH_UID": 12345,
            "NIGHTBENCH_GID": 12345,
            "NIGHTBENCH_PROJECT": "nbtest",
            "NIGHTBENCH_MACHINE": "bench",
            "NIGHTBENCH_POOL": "test-pool",
            "NIGHTBENCH_SERVERS_PATH": folder / "home" / "toys",
            "NIGHTBENCH_PIP_CONFIG": pip,
            "NIGHTBENCH_BUILD_NETWORK": "host",
            "DOCKER_SOCKET": docker_engine.socket,
            "COMPOSE_FILE": "docker-compose.yml:test.yml",
        }
        write_env(root, values)
        ending.callback(stack.compose, "down", "--volumes", "--timeout", "20")
        try:
            bring_up(root)
        except Exception:
            print(stack.compose("logs", "--no-color", "--tail", "60", check=False).stdout)
            raise
        yield stack


@pytest.mark.parametrize(
    "files",
    [
        ("docker-compose.yml",),
        ("docker-compose.yml", "docker-compose.gpu.yml"),
        ("docker-compose.worker.yml",),
        ("docker-compose.worker.yml", "docker-compose.gpu.yml"),
    ],
    ids=" + ".join,
)
def test_the_files_are_valid_as_the_example_has_them(stack: Stack, files: tuple[str, ...]) -> None:
    named = [word for file in files for word in ("--file", file)]
    said = stack.compose("--env-file", ".env.example", *named, "config", "--format", "json")
    assert not said.stderr
    found = json.loads(said.stdout)["services"]
    published = [port for service in found.values() for port in service.get("ports", ())]
    assert all(port["host_ip"] == "127.0.0.1" for port in published)
    if "docker-compose.gpu.yml" in files:
        (device,) = found["worker"]["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", -1, ["gpu"])


def test_without_settings_it_says_what_to_do(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "none").write_text("")
    failed = stack.compose("--env-file", str(tmp_path / "none"), "config", "--quiet", check=False)
    assert failed.returncode != 0
    assert "copy .env.example to .env and fill it in" in failed.stderr


def test_all_is_well_and_the_addresses_answer(stack: Stack) -> None:
    found = services(stack.root)
    assert {each.name for each in found} == {"docker-proxy", "grafana", "migrate", "postgres", "prefect", "worker"}
    assert all(each.well for each in found), found
    lines = addresses(found)
    assert lines[0].startswith(f"Prefect:  http://127.0.0.1:{stack.ports['PREFECT_PORT']} ")
    assert stack.prefect("health", auth="") is True
    # Started again, nothing changes: this is how the addresses are asked for.
    bring_up(stack.root)
    assert addresses(services(stack.root)) == lines


def test_no_stranger_speaks_to_prefect(stack: Stack) -> None:
    for auth in ("", "nightbench:wrong"):
        with pytest.raises(HTTPError, match="401"):
            stack.prefect("work_pools/filter", {}, auth)


def test_the_dashboards_role_reads_views_and_nothing_else(stack: Stack) -> None:
    reader = ("nightbench_reader", WORDS["NIGHTBENCH_READER_PASSWORD"])
    assert stack.sql("SELECT count(*) >= 0 FROM series_nights", *reader) == "t"
    assert "permission denied for table runs" in stack.sql("SELECT * FROM runs", *reader)
    assert "read-only transaction" in stack.sql("CREATE TABLE mine (a int)", *reader)
    assert "authentication failed" in stack.sql("SELECT 1", reader[0], "wrong")


def test_prefects_database_is_its_own(stack: Stack) -> None:
    owners = stack.sql(
        "SELECT datname || ' ' || pg_get_userbyid(datdba) FROM pg_database WHERE datname IN ('nightbench', 'prefect')"
        " ORDER BY 1",
        "nightbench",
        WORDS["NIGHTBENCH_DATABASE_PASSWORD"],
    )
    assert owners.splitlines() == ["nightbench nightbench", "prefect prefect"]
    assert "authentication failed" in stack.sql("SELECT 1", "prefect", WORDS["NIGHTBENCH_DATABASE_PASSWORD"])


def test_no_secret_is_shown(stack: Stack, docker_engine: Running) -> None:
    shown = stack.compose("logs", "--no-color").stdout + stack.compose("config").stdout
    for container in docker_engine.containers():
        shown += json.dumps(docker_engine.get(f"/containers/{container}/json"), ensure_ascii=False)
        top = subprocess.run(("docker", "top", container, "-eo", "args"), capture_output=True, text=True, check=False)
        shown += top.stdout
    for secret in WORDS.values():
        assert secret not in shown
        assert json.dumps(secret)[1:-1] not in shown


def test_nothing_of_pips_settings_is_in_the_image(stack: Stack) -> None:
    image = IMAGES["NIGHTBENCH_IMAGE"]
    history = subprocess.run(("docker", "history", "--no-trunc", image), capture_output=True, text=True, check=True)
    assert "127.0.0.1" in (stack.root.parent / "pip.conf").read_text()
    assert "127.0.0.1" not in history.stdout
    places = ("/etc", "/home", "/root", "/run", "/opt/venv/pyvenv.cfg", "/opt/venv/lib/python3.11/site-packages")
    only = ("--include=*.conf", "--include=*.cfg", "--include=*.toml", "--include=direct_url.json", "--include=RECORD")
    search = (
        "--user",
        "0",
        "--network",
        "none",
        "--entrypoint",
        "grep",
        image,
        "-rlsE",
        *only,
        r"127\.0\.0\.1:[0-9]+/opt/",
        *places,
    )
    found = subprocess.run(("docker", "run", "--rm", *search), capture_output=True, text=True, check=False)
    assert found.returncode == 1, found.stdout + found.stderr  # it looked, and there is none


def test_the_worker_meets_the_engine_through_the_proxy_alone(stack: Stack) -> None:
    inside = ("exec", "--no-TTY", "worker")
    assert "20." in stack.compose(*inside, "docker", "version", "--format", "{{.Server.Version}}").stdout
    for refused in (
        ("exec", "nbtest-postgres-1", "id"),
        ("run", "--privileged", "nightbench/base:test", "true"),
        ("run", "--volume", "/:/host", "nightbench/base:test", "true"),
        ("volume", "ls"),
    ):
        done = stack.compose(*inside, "docker", *refused, check=False)
        assert done.returncode != 0
        assert "403" in done.stderr, done.stderr
    assert stack.compose(*inside, "test", "-e", "/var/run/docker.sock", check=False).returncode != 0
    assert stack.compose(*inside, "id", "-u").stdout.strip() == "12345"


def test_a_night_runs_through_the_worker_and_lands_in_postgres(stack: Stack) -> None:
    said = stack.compose("exec", "--no-TTY", "worker", "nightbench", "deploy", str(stack.home / "tiny.yaml")).stdout
    assert "nightly/tiny-test-pool" in said
    (pool,) = stack.prefect("work_pools/filter", {"work_pools": {"name": {"any_": ["test-pool"]}}})
    assert pool["type"] == "process"
    deployment = stack.prefect("deployments/name/nightly/tiny-test-pool")
    flow_run = stack.prefect(f"deployments/{deployment['id']}/create_flow_run", {})
    deadline = time.monotonic() + NIGHT_TIMEOUT_S
    while (state := stack.prefect(f"flow_runs/{flow_run['id']}")["state"])["type"] not in {
        "COMPLETED",
        "FAILED",
        "CRASHED",
        "CANCELLED",
    }:
        assert time.monotonic() < deadline, f"{state}\n{stack.compose('logs', '--no-color', 'worker').stdout[-4000:]}"
        time.sleep(1)
    assert state["type"] == "COMPLETED", f"{state}\n{stack.compose('logs', '--no-color', 'worker').stdout[-4000:]}"
    facts = stack.sql(
        "SELECT suite, server, model, ok_count > 0, throughput_rps > 0 FROM measurement_facts",
        "nightbench_reader",
        WORDS["NIGHTBENCH_READER_PASSWORD"],
    )
    assert facts == "tiny|toy|tiny_cnn|t|t"
    history = stack.compose("exec", "--no-TTY", "worker", "nightbench", "history").stdout
    assert "tiny" in history
    (report,) = stack.home.glob("runs/*/report.html")
    assert report.stat().st_uid == 12345  # on this machine, at the path that the worker knows
