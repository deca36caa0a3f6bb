"""Several hosts on one machine: network namespaces behind a bridge, each with an address and a cable of its own.

They share the kernel, the processors and the disk. What they do not share is what these tests are about: addresses,
loopback, and whether the others can be reached. Needs root, and leaves nothing: no namespace, no link, no process.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Host", "Lan", "lan"]

_NETWORK = "10.77.31"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Host:
    """One of them. ``namespace`` is empty for the machine itself, which is a host on the network too."""

    address: str
    namespace: str = ""
    cable: str = ""
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, *command: str, environment: Mapping[str, str], output: Path) -> "subprocess.Popen[str]":
        inside = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        with output.open("a") as log:
            process = subprocess.Popen(
                [*inside, *command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=output.parent,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def nightbench(self, *arguments: str, environment: Mapping[str, str], output: Path) -> "subprocess.Popen[str]":
        return self.start(sys.executable, "-m", "flows.cli", *arguments, environment=environment, output=output)

    def cut(self) -> None:
        """Pull the cable."""
        ip("link", "set", self.cable, "down")

    def mend(self) -> None:
        ip("link", "set", self.cable, "up")

    def pids(self) -> list[int]:
        """Everything that runs on it."""
        found = subprocess.run(["ip", "netns", "pids", self.namespace], check=False, capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def crash(self) -> None:
        """End everything on it at once, as a power cut would."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._reap()

    def end(self) -> None:
        """Ask what runs on it to leave, and then see that it does."""
        for process in reversed(self.processes):
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and any(process.poll() is None for process in self.processes):
            time.sleep(0.1)
        for process in self.processes:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if self.namespace:
            self.crash()
        self._reap()

    def _reap(self) -> None:
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)


@dataclass(frozen=True)
class Lan:
    here: Host
    hosts: Mapping[str, Host]


@contextmanager
def lan(*names: str) -> Iterator[Lan]:
    """This machine and a host of each name, on one network."""
    mark = f"nb{os.getpid() % 100_000}"
    here = Host(f"{_NETWORK}.1")
    hosts: dict[str, Host] = {}
    ip("link", "add", mark, "type", "bridge")
    try:
        ip("addr", "add", f"{here.address}/24", "dev", mark)
        ip("link", "set", mark, "up")
        for number, name in enumerate(names):
            host = Host(f"{_NETWORK}.{10 + number}", f"{mark}-{name}", f"{mark}v{number}")
            ip("netns", "add", host.namespace)
            hosts[name] = host
            ip("link", "add", host.cable, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
            ip("link", "set", host.cable, "master", mark, "up")
            for arguments in (
                ("addr", "add", f"{host.address}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                ("link", "set", "lo", "up"),
            ):
                ip("-n", host.namespace, *arguments)
        yield Lan(here, hosts)
    finally:
        for host in (*hosts.values(), here):
            host.end()
        for host in hosts.values():
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", host.namespace)
        with suppress(subprocess.CalledProcessError):
            ip("link", "del", mark)
