"""A Docker engine of Python objects: starts nothing, remembers what it was asked, and refuses what it is told to."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests
from docker.errors import APIError, NotFound


def api_error(status: int, words: str) -> APIError:
    """What the client raises for the engine's refusal."""
    response = requests.Response()
    response.status_code = status
    return APIError(f"{status} Error", response=response, explanation=words)


@dataclass
class FakeContainer:
    """Once started it answers ``right`` on its published ports, unless its end is laid down."""

    engine: "FakeEngine"
    image: str
    asked: dict[str, Any]
    id: str
    state: dict[str, Any] = field(
        default_factory=lambda: {"Running": False, "Pid": 0, "ExitCode": 0, "OOMKilled": False}
    )
    stopped: list[float] = field(default_factory=list)
    removed: bool = False
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def attrs(self) -> dict[str, Any]:
        return {
            "State": self.state,
            "HostConfig": {"CpusetCpus": self.asked["cpuset_cpus"], "Memory": self.asked.get("mem_limit", 0)},
            "NetworkSettings": {"Networks": {}},
        }

    def start(self) -> None:
        if self.engine.refuse_start:
            raise self.engine.refuse_start.pop(0)
        self.state |= {"Running": True, **self.engine.end}
        if self.state["Running"]:
            for address in self.asked["ports"].values():
                listener = socket.create_server(address)
                self._open.append(listener)
                threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(self.engine.answer)

    def reload(self) -> None:
        if self.engine.gone:
            raise requests.exceptions.ConnectionError("connection refused")

    def logs(self, **_: object) -> Iterator[bytes]:
        yield b"loading\n"

    def stop(self, timeout: float) -> None:
        self.stopped.append(timeout)
        if self.engine.interrupt_stop:
            raise KeyboardInterrupt
        self.state["Running"] = False

    def remove(self) -> None:
        self.removed = True
        for listener in self._open:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()


@dataclass
class FakeNetwork:
    name: str
    asked: dict[str, Any]
    removed: bool = False


@dataclass
class FakeEngine:
    """Stands for ``docker.DockerClient``: its own containers and networks."""

    refuse_create: list[Exception] = field(default_factory=list)
    refuse_start: list[Exception] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)
    """State of every container right after it was started."""
    answer: bytes = b"right"
    interrupt_stop: bool = False
    lose_answers: str = ""
    """Of a ``network`` or ``container``: what is created is there, and nobody hears of it."""
    gone: bool = False
    made: list[FakeContainer] = field(default_factory=list)
    bridges: list[FakeNetwork] = field(default_factory=list)

    @property
    def containers(self) -> "_Containers":
        return _Containers(self)

    @property
    def networks(self) -> "_Networks":
        return _Networks(self)

    @property
    def api(self) -> "_Api":
        return _Api(self)

    @property
    def left(self) -> list[object]:
        """What was made and not removed."""
        return [each for each in (*self.made, *self.bridges) if not each.removed]


@dataclass
class _Containers:
    engine: FakeEngine

    def create(self, image: str, **asked: Any) -> FakeContainer:
        if self.engine.refuse_create:
            raise self.engine.refuse_create.pop(0)
        self.engine.made.append(FakeContainer(self.engine, image, asked, f"c{len(self.engine.made)}"))
        if self.engine.lose_answers == "container":
            raise requests.exceptions.ReadTimeout("read timed out")
        return self.engine.made[-1]


@dataclass
class _Networks:
    engine: FakeEngine

    def create(self, name: str, **asked: Any) -> FakeNetwork:
        self.engine.bridges.append(FakeNetwork(name, asked))
        if self.engine.lose_answers == "network":
            raise requests.exceptions.ReadTimeout("read timed out")
        return self.engine.bridges[-1]


@dataclass
class _Api:
    """The engine's requests by name, as the client's lower layer makes them."""

    engine: FakeEngine

    def remove_container(self, name: str, **how: bool) -> None:
        assert how == {"force": True, "v": True}
        found = [each for each in self.engine.made if each.asked["name"] == name and not each.removed]
        if not found:
            raise NotFound("no such container")
        found[0].remove()

    def remove_network(self, name: str) -> None:
        found = [each for each in self.engine.bridges if each.name == name and not each.removed]
        if not found:
            raise NotFound("no such network")
        found[0].removed = True
