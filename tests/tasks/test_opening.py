"""How a run's servers are started is decided once: what is resumed goes on as it was begun."""

from typing import Any, cast

import pytest

from launch.engine import Engine
from nightbench.errors import DeploymentError, UsageError
from tasks import launching
from tasks.opening import opened
from tasks.request import resumed
from tests.flows.echo import World, world

__all__ = ["world"]

AWAY = "no Docker engine answers at unix:///x"


class Notes:
    """Keeps what a run thought worth keeping."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def begin(self, cells: int) -> None: ...

    def doing(self, what: str) -> None: ...

    def done(self, cells: int) -> None: ...

    def note(self, text: str) -> None:
        self.kept.append(text)


def answers(monkeypatch: pytest.MonkeyPatch, *, there: bool) -> None:
    def engine() -> Engine:
        if not there:
            raise DeploymentError("no_engine", AWAY)
        return Engine(cast("Any", None), "unix:///x", "28.0")

    monkeypatch.setattr(launching, "available", lambda: None if there else AWAY)
    monkeypatch.setattr(launching, "engine", engine)
    monkeypatch.setattr(launching, "reap_containers", lambda _: None)


def interrupted(world: World, notes: Notes) -> str:
    """A run that was begun, and ended before it measured anything; its id."""
    world.write(package_ms=0)
    request = world.request()
    with (
        pytest.raises(KeyboardInterrupt),
        opened(request, world.settings, world.catalog, progress=notes),
    ):
        raise KeyboardInterrupt
    return request.run_id


def test_begun_without_an_engine_it_goes_on_with_processes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes()
    answers(monkeypatch, there=False)
    run_id = interrupted(world, notes)
    assert notes.kept == [f"servers run as processes: {AWAY}"]
    answers(monkeypatch, there=True)
    request = resumed(run_id, world.settings, world.catalog)
    with opened(request, world.settings, world.catalog) as session:
        assert session.engine is None
        assert launching.ENGINE not in session.context


def test_begun_with_one_it_is_not_resumed_without(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes()
    answers(monkeypatch, there=True)
    run_id = interrupted(world, notes)
    assert notes.kept == ["servers run in containers"]
    request = resumed(run_id, world.settings, world.catalog)
    with opened(request, world.settings, world.catalog) as session:
        assert session.engine is not None
    answers(monkeypatch, there=False)
    with (
        pytest.raises(UsageError, match=rf"^run '{run_id}': was begun in containers, and {AWAY}"),
        opened(request, world.settings, world.catalog),
    ):
        pass
