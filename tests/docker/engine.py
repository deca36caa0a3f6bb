"""A real Docker engine for tests, with everything of its own: socket, data, bridge and addresses; all gone after.

``python -m tests.docker.engine FOLDER`` runs one until it is interrupted, and prints what to set to use it. Needs root
and ``dockerd`` (Debian: ``apt-get install --no-install-recommends docker.io``). No firewall rule is made or changed:
ports are published by Docker's own proxy on loopback; containers reach each other over their bridge, and nobody else.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from ipaddress import IPv4Network
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any

from tests.docker.base import BASE, import_base

__all__ = ["Running", "engine"]

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0
_NETWORKS = [IPv4Network((0x0AC80000 + (at << 16), 16)) for at in range(48)]
"""10.200.0.0/16 and on: one for each engine that runs at the same time, divided among its bridges."""


@dataclass(frozen=True, slots=True)
class Running:
    """An engine that answers."""

    socket: Path
    folder: Path
    pid: int

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def env(self) -> Mapping[str, str]:
        """What every client is to be told."""
        return {"DOCKER_HOST": self.url, "DOCKER_CONFIG": str(self.folder / "config")}

    def get(self, path: str) -> Any:
        """What the engine's API answers."""
        return _ask(self.socket, "GET", path)

    def containers(self) -> list[str]:
        """Of every container, running or not, the id."""
        return [each["Id"] for each in self.get("/containers/json?all=1")]


@contextmanager
def engine(folder: Path, *, keep: bool = False, base: bool = True, path: Path | None = None) -> Iterator[Running]:
    """An engine below ``folder``, which is made; with `BASE` in it.

    ``keep`` leaves its images there for the next one. ``path`` is a folder to be searched for programs before all
    others: a stub of NVIDIA's runtime hook. Containers end with it.
    """
    program = shutil.which("dockerd", path=f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', '')}")
    assert program is not None, "no dockerd; apt-get install --no-install-recommends docker.io"
    (folder / "config").mkdir(parents=True, exist_ok=True)
    with _bridge() as (bridge, network), _daemon(program, folder, bridge, network, path) as running:
        if base:
            import_base(running.url)
        try:
            yield running
        finally:
            for container in running.containers():
                _ask(running.socket, "DELETE", f"/containers/{container}?force=1&v=1")
    for name in () if keep else ("data", "exec", "config"):
        shutil.rmtree(folder / name, ignore_errors=True)


@contextmanager
def _daemon(program: str, folder: Path, bridge: str, network: IPv4Network, path: Path | None) -> Iterator[Running]:
    # A socket's name has room for 107 bytes, and containerd has its own below the same folder.
    assert len(os.fsencode(folder)) < 60, f"{folder} is too long a name for the sockets in it"
    address = folder / "docker.sock"
    empty = folder / "daemon.json"
    empty.write_text("{}")  # and not the machine's own in /etc/docker
    argv = (
        program,
        *("--host", f"unix://{address}"),
        *("--config-file", str(empty)),
        *("--data-root", str(folder / "data")),
        *("--exec-root", str(folder / "exec")),
        *("--pidfile", str(folder / "dockerd.pid")),
        *("--bridge", bridge),
        *("--default-address-pool", f"base={list(network.subnets(1))[1]},size=24"),
        *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
    )
    env = {**os.environ, "PATH": f"{path or '/usr/sbin'}:/usr/sbin:{os.environ.get('PATH', '')}"}
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait_until_it_answers(process, address, folder / "dockerd.log")
        yield Running(address, folder, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        address.unlink(missing_ok=True)
        _unmount(folder)


def _wait_until_it_answers(process: subprocess.Popen[bytes], address: Path, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            _ask(address, "GET", "/_ping")
            return
        time.sleep(0.05)
    raise AssertionError(f"dockerd does not answer: {log.read_text(errors='replace')[-2000:]}")


@contextmanager
def _bridge() -> Iterator[tuple[str, IPv4Network]]:
    """A bridge of its own, and its addresses: engines that shared one would hand out the same address twice."""
    for at, network in enumerate(_NETWORKS):
        name = f"nbtest{at}"
        if subprocess.run(("ip", "link", "add", name, "type", "bridge"), capture_output=True, check=False).returncode:
            continue  # another engine's
        try:
            lower = next(network.subnets(1))
            _ip("addr", "add", f"{lower[1]}/{lower.prefixlen}", "dev", name)
            _ip("link", "set", name, "up")
            yield name, network
        finally:
            _ip("link", "delete", name)
        return
    raise AssertionError("no bridge can be made; this needs root")


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True)


def _unmount(folder: Path) -> None:
    """What a container that died at a bad moment leaves mounted."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for at in sorted((each for each in mounted if each.startswith(f"{folder}/")), reverse=True):
        subprocess.run(("umount", "--lazy", at), check=False, capture_output=True)


class _Connection(HTTPConnection):
    def __init__(self, address: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._address = address

    def connect(self) -> None:
        self.sock = socket(AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._address))


def _ask(address: Path, method: str, path: str) -> Any:
    connection = _Connection(address)
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        body = reply.read()
    finally:
        connection.close()
    kind = reply.getheader("Content-Type", "")
    return json.loads(body) if body and kind.startswith("application/json") else body


def main() -> None:
    """Run one until interrupted; its images are kept."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with engine(Path(sys.argv[1]).resolve(), keep=True) as running, suppress(KeyboardInterrupt):
        lines = [f"export {name}={value}" for name, value in running.env.items()]
        print(*lines, f"export NIGHTBENCH_IMAGE_BASE={BASE}", sep="\n", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
