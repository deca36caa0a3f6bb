"""Machines that share a load: who is waited for, what a missing one costs, and what comes of all their parts."""

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import tasks.spread as module
from db.errors import DatabaseDown
from db.spreads import Spread, SpreadPart, SpreadStore
from loadgen.arrivals import offsets_ns
from loadgen.codec_json import job_to_json
from loadgen.job import Job
from nightbench.errors import NightbenchError, UsageError
from nightbench.load import Arrival, ClosedLoop, OpenLoop
from nightbench.model import DType, TensorSpec, Tolerance
from nightbench.samples import Samples
from nightbench.server import Endpoint, Protocol
from nightbench.stopping import Stopped
from tasks.spread import Spreading, send_part
from tests.loadgen.conftest import FakeServer

INPUTS = (TensorSpec("x", DType.FP32, (3,)),)


class Table:
    """The database, with what the machines say in it."""

    def __init__(self) -> None:
        self.spreads: dict[str, Spread] = {}
        self.parts: dict[int, SpreadPart] = {}
        self.outages = 0
        self.down_at_the_end = False

    def begin_spread(self, spread_id: str, machines: int, job: Mapping[str, Any], pool: bytes) -> None:
        self.spreads[spread_id] = Spread(machines, job, pool, None)

    def spread(self, spread_id: str) -> Spread:
        self._answer()
        try:
            return self.spreads[spread_id]
        except KeyError:
            raise NightbenchError("over") from None

    def join_spread(self, spread_id: str, machine: int, host: str) -> None:
        self.parts[machine] = SpreadPart(host, None, None)

    def start_spread(self, spread_id: str, start_at_ns: int) -> None:
        spread = self.spreads[spread_id]
        self.spreads[spread_id] = Spread(spread.machines, spread.job, spread.pool, start_at_ns)

    def put_part(self, spread_id: str, machine: int, result: Mapping[str, Any], samples: bytes | None) -> None:
        self._answer()
        self.parts[machine] = SpreadPart(self.parts[machine].host, result, samples)

    def spread_parts(self, spread_id: str, *, whole: bool = False) -> dict[int, SpreadPart]:
        self._answer()
        return dict(self.parts)

    def end_spread(self, spread_id: str) -> None:
        if self.down_at_the_end:
            raise DatabaseDown("away")
        del self.spreads[spread_id]

    def _answer(self) -> None:
        if self.outages:
            self.outages -= 1
            raise DatabaseDown("away")


class Machines:
    """Workers that take parts as soon as they are asked to, each in a thread."""

    def __init__(self, table: Table, hosts: list[str]) -> None:
        self.table, self.hosts = table, hosts
        self.threads: list[threading.Thread] = []
        self.ended = 0

    def start(self, spread_id: str, machine: int) -> Callable[[], None]:
        if machine < len(self.hosts):
            thread = threading.Thread(target=self._work, args=(spread_id, machine))
            thread.start()
            self.threads.append(thread)
        return self._end

    def _work(self, spread_id: str, machine: int) -> None:
        try:
            send_part(cast("SpreadStore", self.table), spread_id, machine, self.hosts[machine])
        except NightbenchError:
            return  # the load was given up

    def _end(self) -> None:
        self.ended += 1

    def join(self) -> None:
        for thread in self.threads:
            thread.join(60)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    np.savez(tmp_path / "pool.npz", **{"in.x": np.arange(15, dtype=np.float32).reshape(5, 3)})

    def make(port: int, **fields: Any) -> Job:
        values: dict[str, Any] = {
            "endpoint": Endpoint(Protocol.RAW_HTTP, "127.0.0.1", port, "m"),
            "load": OpenLoop(100.0, Arrival.POISSON),
            "batch": 1,
            "inputs": INPUTS,
            "outputs": (),
            "pool": tmp_path / "pool.npz",
            "tolerance": Tolerance(0.0, 0.0),
            "duration_s": 0.5,
            "samples": tmp_path / "samples.npz",
            "verify_every": 0,
            "seed": 3,
        }
        return Job(**(values | fields))

    return make


def spreading(table: Table, machines: int, start: Callable[[str, int], Callable[[], None]]) -> Spreading:
    return Spreading(cast("SpreadStore", table), machines, start)


def test_two_machines_send_what_one_would_have(
    table: Table, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = Machines(table, ["amber", "birch"])
    with FakeServer() as server:
        wanted = job(server.port)
        result = spreading(table, 2, workers.start)(wanted)
        workers.join()
    assert result.error is None
    samples = Samples.load(wanted.samples)
    assert (samples.intended_ns - result.started_ns).tolist() == offsets_ns(wanted.load, 0.5, 3).tolist()
    assert result.requests == len(server.bodies) == len(samples)
    # Nothing is left of it but what it came to.
    assert table.spreads == {}
    assert workers.ended == 2


def test_a_database_that_is_away_for_a_while_costs_nothing(
    table: Table, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = Machines(table, ["amber", "birch"])

    def start(spread_id: str, machine: int) -> Callable[[], None]:
        table.outages = 5
        return workers.start(spread_id, machine)

    with FakeServer() as server:
        result = spreading(table, 2, start)(job(server.port))
        workers.join()
    assert result.error is None
    assert result.requests == len(server.bodies)


def test_a_database_that_is_away_at_the_end_takes_nothing_of_what_was_measured(
    table: Table, job: Callable[..., Job]
) -> None:
    table.down_at_the_end = True
    workers = Machines(table, ["amber", "birch"])
    with FakeServer() as server:
        result = spreading(table, 2, workers.start)(job(server.port))
        workers.join()
    assert result.error is None
    assert result.requests == len(server.bodies)


def test_a_part_waits_for_nobody_who_is_gone(
    table: Table, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GATHER_S", 0.3)
    monkeypatch.setattr(module, "_MARGIN_S", 0.0)
    table.begin_spread("a1", 2, json.loads(job_to_json(job(1))), job(1).pool.read_bytes())
    with pytest.raises(NightbenchError, match="nobody said when to begin"):
        send_part(cast("SpreadStore", table), "a1", 0, "amber")


def test_a_machine_that_does_not_come_is_a_sentence(
    table: Table, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GATHER_S", 0.5)
    workers = Machines(table, ["amber"])
    with pytest.raises(NightbenchError, match="1 of 2 came within"):
        spreading(table, 2, workers.start)(job(1))
    workers.join()
    assert table.spreads == {}
    assert workers.ended == 2


def test_one_machine_is_not_two(table: Table, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Machines(table, ["amber", "amber"])
    with pytest.raises(NightbenchError, match="amber took more than one part"):
        spreading(table, 2, workers.start)(job(1))
    workers.join()


def test_a_machine_that_does_not_come_back_is_named(
    table: Table, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_START_LEAD_NS", 0)
    monkeypatch.setattr(module, "_MARGIN_S", 0.0)

    def start(spread_id: str, machine: int) -> Callable[[], None]:
        table.join_spread(spread_id, machine, ("amber", "birch")[machine])
        if machine == 0:
            table.put_part(spread_id, 0, {"error": None}, None)
        return lambda: None

    with pytest.raises(NightbenchError, match="nothing came back from birch"):
        spreading(table, 2, start)(job(1, duration_s=0.1, timeout_s=0.1))


def test_what_went_wrong_on_a_machine_is_the_result(
    table: Table, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_START_LEAD_NS", -1_000_000_000)  # told too late
    workers = Machines(table, ["amber", "birch"])
    with FakeServer() as server:
        result = spreading(table, 2, workers.start)(job(server.port))
        workers.join()
    assert result.error is not None
    assert result.error.startswith("on amber: ready")
    assert server.bodies == []


def test_who_gives_up_is_heard(table: Table, job: Callable[..., Job]) -> None:
    with pytest.raises(Stopped):
        spreading(table, 2, lambda *_: lambda: None)(job(1), lambda: True)
    assert table.spreads == {}


def test_what_cannot_be_shared_starts_nothing(table: Table, job: Callable[..., Job]) -> None:
    with pytest.raises(UsageError, match="2 processes cannot share a concurrency of 1"):
        spreading(table, 2, lambda *_: pytest.fail("started"))(job(1, load=ClosedLoop(1)))
