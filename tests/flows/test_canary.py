"""What a round leaves of the machine's own speed, failures included."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nightbench.errors import NightbenchError
from nightbench.figures import Estimate
from nightbench.record import CalibrationRecord, CanaryRecord
from nightbench.server import Protocol
from tasks import canary
from tasks.canary import canary_record, machine_canaries
from tasks.report import spooled_records
from tests.flows.judging import World

NULL = CalibrationRecord(
    "run", 2, Protocol.OPAQUE_HTTP, "", 1, 100, 100, datetime(2026, 1, 1, tzinfo=UTC), Estimate(5e4), {}, 7_000.0
)


def left(world: World) -> list[CanaryRecord]:
    with world.session(None) as session:
        machine_canaries(session, 2)
    return [each for each in spooled_records(session.settings, session.run_id) if isinstance(each, CanaryRecord)]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    found = {"matrix_product": Estimate(1e6), "memory_copy": Estimate(4e6)}
    monkeypatch.setattr(canary, "run_canaries", lambda cpus, env: found)
    monkeypatch.setattr(canary, "gpu_products", dict)
    return World(tmp_path)


def test_each_canary_of_a_round_is_on_record(world: World) -> None:
    assert [(each.canary, each.device, each.round, each.duration_ns) for each in left(world)] == [
        ("matrix_product", "cpu", 2, Estimate(1e6)),
        ("memory_copy", "cpu", 2, Estimate(4e6)),
    ]


def test_each_gpu_is_one_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "gpu_products", lambda: {"gpu0": Estimate(3e6), "gpu1": Estimate(3e6)})
    assert [(each.canary, each.device) for each in left(world)][2:] == [
        ("gpu_matrix_product", "gpu0"),
        ("gpu_matrix_product", "gpu1"),
    ]


def test_a_canary_that_fails_is_on_record_and_the_night_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(cpus: object, env: object) -> dict[str, Estimate]:
        raise NightbenchError("the canary did not answer")

    monkeypatch.setattr(canary, "run_canaries", fail)
    records = left(world)
    assert [(each.canary, each.duration_ns, each.failure) for each in records] == [
        ("matrix_product", None, "the canary did not answer"),
        ("memory_copy", None, "the canary did not answer"),
    ]
    assert world.notes.lines == ["the canary did not answer"]


def test_the_null_servers_cost_is_a_canary_as_well() -> None:
    made = canary_record(NULL)
    assert (made.canary, made.device, made.round, made.duration_ns) == ("null_request", "cpu", 2, Estimate(7_000.0))
    failed = canary_record(replace(NULL, failure="it died"))
    assert (failed.duration_ns, failed.failure) == (None, "it died")
