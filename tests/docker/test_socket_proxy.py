"""What the worker may ask of the engine: the proxy's own rules, before an engine that would do anything."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socket import AF_UNIX, socket
from socketserver import ThreadingUnixStreamServer
from threading import Thread
from typing import Any

import pytest

import launch.stack

CONFIG = Path(launch.stack.__file__).with_name("docker-proxy.cfg")
HOME, CACHE, TMP = "/srv/nightbench/home", "/srv/nightbench/cache", "/srv/tmp"

Ask = Callable[..., int]
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class _Engine(BaseHTTPRequestHandler):
    """Says yes to everything."""

    protocol_version = "HTTP/1.1"

    def _yes(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Upgrade") == "h2c" and "upgrade" in self.headers.get("Connection", "").lower():
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", "h2c")
            self.end_headers()
            self.wfile.write(self.rfile.read(len(_PREFACE)))
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._yes
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass


class _Connection(HTTPConnection):
    def __init__(self, address: Path) -> None:
        super().__init__("docker", timeout=20)
        self._address = address

    def connect(self) -> None:
        self.sock = socket(AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self._address))


@pytest.fixture(scope="module")
def proxy() -> Iterator[Path]:
    """Where the proxy listens."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    assert program, "no haproxy; apt-get install --no-install-recommends haproxy"
    folder = Path(tempfile.mkdtemp(prefix="nbproxy-"))  # sockets' names are short
    text = CONFIG.read_text()
    text = text.replace("unix@/run/nightbench/docker.sock", f"unix@{folder}/in.sock")
    text = text.replace("unix@/var/run/docker.sock", f"unix@{folder}/out.sock")
    (folder / "proxy.cfg").write_text(text)
    server = ThreadingUnixStreamServer(str(folder / "out.sock"), _Engine)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    env = {"NIGHTBENCH_HOME": HOME, "NIGHTBENCH_CACHE": CACHE, "NIGHTBENCH_TMP": TMP}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen((program, "-f", str(folder / "proxy.cfg")), env=env, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not (folder / "in.sock").exists():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

        yield folder / "in.sock"
    finally:
        process.terminate()
        process.wait(10)
        server.shutdown()
        server.server_close()
        shutil.rmtree(folder)


@pytest.fixture
def ask(proxy: Path) -> Ask:
    """Asks through the proxy; the status that comes back."""

    def send(method: str, path: str, body: Any = None) -> int:
        connection = _Connection(proxy)
        sent = json.dumps(body) if isinstance(body, dict) else body
        try:
            with suppress(BrokenPipeError):
                connection.request(method, path, sent, {"Content-Type": "application/json"})
            return connection.getresponse().status
        finally:
            connection.close()

    return send


@pytest.mark.parametrize("path", ["/session", "/grpc", "/v1.41/session"])
def test_buildkit_s_session_reaches_the_engine(proxy: Path, path: str) -> None:
    """By HTTP/1.1's upgrade to HTTP/2: HAProxy drops that header from 3.0.6 on, and no image could be built."""
    with socket(AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(proxy))
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n".encode()
        )
        with connection.makefile("rb") as told:
            assert told.readline().split()[1] == b"101"
            headers = dict(line.lower().strip().split(b": ") for line in iter(told.readline, b"\r\n"))
            assert headers[b"upgrade"] == b"h2c"
            connection.sendall(_PREFACE)
            assert told.read(len(_PREFACE)) == _PREFACE


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", "/_ping"),
        ("GET", "/v1.41/version"),
        ("GET", "/v1.41/info"),
        ("GET", "/v1.41/events?filters=x"),
        ("GET", "/v1.41/images/nvcr.io/nvidia/tritonserver:24.10/json"),
        ("GET", "/v1.41/containers/json?all=1"),
        ("GET", "/v1.41/containers/abc_1/stats?stream=0"),
        ("GET", "/v1.41/containers/abc/logs?follow=1"),
        ("POST", "/v1.41/images/create?fromImage=x&tag=y"),
        ("POST", "/v1.41/build?t=x"),
        ("POST", "/session"),
        ("POST", "/grpc"),
        ("POST", "/v1.41/containers/abc/start"),
        ("POST", "/v1.41/containers/abc/kill?signal=KILL"),
        ("POST", "/v1.41/containers/abc/wait"),
        ("DELETE", "/v1.41/containers/abc?force=1&v=1"),
        ("GET", "/v1.41/networks?filters=x"),
        ("GET", "/v1.41/networks/abc"),
        ("DELETE", "/v1.41/networks/abc"),
    ],
)
def test_what_a_night_needs_is_let_through(ask: Ask, method: str, path: str) -> None:
    assert ask(method, path) == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1.41/containers/abc/exec"),
        ("POST", "/v1.41/exec/abc/start"),
        ("POST", "/v1.41/containers/abc/attach"),
        ("POST", "/v1.41/containers/abc/update"),
        ("PUT", "/v1.41/containers/abc/archive?path=/"),
        ("GET", "/v1.41/containers/abc/archive?path=/etc"),
        ("GET", "/v1.41/containers/abc/export"),
        ("POST", "/v1.41/containers/prune"),
        ("POST", "/v1.41/volumes/create"),
        ("GET", "/v1.41/volumes"),
        ("DELETE", "/v1.41/volumes/nightbench_postgres-data"),
        ("POST", "/v1.41/networks/abc/connect"),
        ("POST", "/v1.41/networks/prune"),
        ("DELETE", "/v1.41/images/nightbench/fastapi:abc"),
        ("POST", "/v1.41/swarm/init"),
        ("GET", "/v1.41/secrets"),
        ("POST", "/v1.41/plugins/pull"),
        ("POST", "/v1.41/images/load"),
        ("POST", "/v1.41/commit"),
        ("GET", "/v1.41/containers/../volumes"),
        ("GET", "/v1.41/images/../../volumes/json"),
        ("GET", "/v1.41/images/x/%2e%2e/json"),
        ("DELETE", "/v1.41/images/../volumes/nightbench_postgres-data"),
        ("PATCH", "/_ping"),
    ],
)
def test_the_rest_is_refused(ask: Ask, method: str, path: str) -> None:
    assert ask(method, path) == 403


CREATE = "/v1.41/containers/create?name=x"


def _made(**host: object) -> dict[str, object]:
    given_up = {"Binds": None, "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges:true"]}
    known = {name: value for name, value in {**given_up, **host}.items() if value is not ...}
    return {"Image": "nightbench/fastapi:abc", "Cmd": ["python"], "HostConfig": known}


@pytest.mark.parametrize(
    "host",
    [
        {},
        {"Binds": []},
        {"Binds": [f"{HOME}/runs/x:{HOME}/runs/x:rw", f"{CACHE}/artifacts:{CACHE}/artifacts:ro", f"{TMP}/w:{TMP}/w"]},
        {"Mounts": [{"Type": "bind", "Source": f"{HOME}/a", "Target": "/a", "ReadOnly": True}]},
        {"Mounts": [{"Type": "tmpfs", "Target": "/run"}]},
        {"Tmpfs": {"/run": "size=64m"}, "ReadonlyRootfs": True, "CapDrop": ["ALL"], "CapAdd": None, "Devices": []},
        {"SecurityOpt": None},
        {"SecurityOpt": []},
        {"SecurityOpt": ...},
        {"SecurityOpt": ["no-new-privileges"], "Privileged": False, "NetworkMode": "bridge", "IpcMode": "private"},
        {"DeviceRequests": [{"Driver": "nvidia", "DeviceIDs": ["0"], "Capabilities": [["gpu"]]}]},
        {"PidMode": "", "VolumesFrom": None, "MaskedPaths": None, "VolumeDriver": "", "ShmSize": 1 << 30},
    ],
)
def test_a_servers_container_is_let_through(ask: Ask, host: dict[str, object]) -> None:
    assert ask("POST", CREATE, _made(**host)) == 200
    assert ask("POST", CREATE, json.dumps(_made(**host), indent=2)) == 200


@pytest.mark.parametrize(
    "host",
    [
        {"Privileged": True},
        {"privileged": True},
        {"PidMode": "host"},
        {"NetworkMode": "host"},
        {"NetworkMode": "container:nightbench-postgres-1"},
        {"IpcMode": "host"},
        {"UsernsMode": "host"},
        {"CapAdd": ["SYS_ADMIN"]},
        {"Devices": [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda"}]},
        {"DeviceCgroupRules": ["a *:* rwm"]},
        {"VolumesFrom": ["nightbench-postgres-1"]},
        {"SecurityOpt": ["seccomp=unconfined"]},
        {"SecurityOpt": ["no-new-privileges:false"]},
        {"SecurityOpt": ["no-new-privileges", "apparmor=mine"]},
        {"SecurityOpt": ["label=disable"]},
        {"SecurityOpt": ['seccomp={"defaultAction": "SCMP_ACT_ALLOW"}']},
        {"SecurityOpt": ["systempaths=all"]},
        {"securityopt": ["apparmor=mine"]},
        {"CapDrop": ...},
        {"CapDrop": None},
        {"CapDrop": []},
        {"CapDrop": ["NET_RAW"]},
        {"capdrop": []},
        {"MaskedPaths": []},
        {"Binds": ["/:/host"]},
        {"Binds": ["/var/run/docker.sock:/var/run/docker.sock"]},
        {"Binds": ["nightbench_postgres-data:/data"]},
        {"Binds": [f"{HOME}/a:/a", "/etc:/etc:ro"]},
        {"Binds": [f"{HOME}-of-another/a:/a"]},
        {"Binds": [f"{HOME}/../../../etc:/etc"]},
        {"binds": ["/:/host"]},
        {"Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}]},
        {"Mounts": [{"Type": "bind", "Source": f"{HOME}/../..", "Target": "/host"}]},
        {"Mounts": [{"Type": "volume", "Source": "nightbench_postgres-data", "Target": "/d"}]},
        {"Mounts": [{"Type": "volume", "Target": "/d", "VolumeOptions": {"DriverConfig": {"Name": "local"}}}]},
    ],
)
def test_a_container_with_a_way_out_is_refused(ask: Ask, host: dict[str, object]) -> None:
    assert ask("POST", CREATE, _made(**host)) == 403
    assert ask("POST", CREATE, json.dumps(_made(**host), indent=2)) == 403


def test_a_second_list_of_binds_is_refused(ask: Ask) -> None:
    body = f'{{"HostConfig": {{"Binds": ["{HOME}/a:/a"]}},\n "hostconfig": {{"Binds": ["/:/host"]}}}}'
    assert ask("POST", CREATE, body) == 403


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (200, {"Driver": "bridge", "Options": {"com.docker.network.bridge.enable_ip_masquerade": "false"}}),
        (200, {"Driver": "bridge", "Options": None, "IPAM": {"Driver": "default", "Config": []}, "ConfigFrom": {}}),
        (403, {"Driver": "macvlan", "Options": {"parent": "eth0"}}),
        (403, {"Driver": "host"}),
        (403, {}),
        (403, {"Driver": "bridge", "driver": "macvlan"}),
        (403, {"Driver": "bridge", "Options": {"com.docker.network.bridge.name": "docker0"}}),
    ],
)
def test_a_network_is_a_bridge_of_its_own(ask: Ask, status: int, asked: dict[str, object]) -> None:
    assert ask("POST", "/v1.41/networks/create", {"Name": "x", **asked}) == status


@pytest.mark.parametrize(
    "body",
    [
        r'{"HostConfig": {"Bi\u006eds": ["/:/host"]}}',
        '{"HostConfig": {"Bind\u017f": ["/:/host"]}}',
        r'{"HostConfig": {"Bind\u017F": ["/:/host"]}}',
        rf'{{"HostConfig": {{"Binds": ["{HOME}/..\/..\/..\/:/host"]}}}}',
        rf'{{"HostConfig": {{"Binds": ["{HOME}/\u002e./../../:/host"]}}}}',
        rf'{{"HostConfig": {{"Mounts": [{{"Type": "bind", "Source": "{HOME}\/..\/..", "Target": "/h"}}]}}}}',
    ],
)
def test_a_word_spelt_otherwise_is_refused(ask: Ask, body: str) -> None:
    assert ask("POST", CREATE, body.encode()) == 403


def test_what_cannot_be_looked_at_whole_is_refused(ask: Ask) -> None:
    large = {"Env": ["A" * 100_000], **_made(Privileged=True)}
    assert ask("POST", CREATE, large) == 413
    chunks = iter([json.dumps(_made()).encode()])
    assert ask("POST", CREATE, chunks) == 403  # of no length said
