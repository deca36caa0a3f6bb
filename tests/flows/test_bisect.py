"""`nightbench bisect`: what it says, and what it refuses. What it finds is in `test_rerun`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

import flows.commands.bisect as command
from nightbench.errors import UsageError
from nightbench.figures import Estimate
from nightbench.judge.alert import Alert, AlertKind, AlertState, Finding, Member
from nightbench.judge.bisect import Found
from nightbench.judge.factors import Differences
from nightbench.judge.series import Metric, SeriesKey
from nightbench.judge.verdict import Change, Outcome
from nightbench.record import KitRecord, MeasurementRecord, Record, RunStarted
from tasks.ab.bisect import Bisection, Mixture
from tasks.ab.rerun import Decided
from tests.flows.echo import World, world

__all__ = ["world"]


class Database:
    """One alert, and the nights of a `World`."""

    def __init__(self, world: World, alert: Alert) -> None:
        self.world, self.one = world, alert
        self.ingested: list[Record] = []

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None: ...

    def alert(self, number: int) -> Alert:
        assert number == self.one.number
        return self.one

    def records(self, run_id: str, *kinds: type[Record]) -> list[Record]:
        return self.world.records(run_id, *kinds)

    def ingest(self, records: Sequence[Record]) -> None:
        self.ingested += records


def alert_of(world: World, run_id: str, good: str) -> Alert:
    key = SeriesKey("echoes", world.measured(run_id).case.fingerprint, Metric.LATENCY_P50_NS)
    change = Change(run_id, good, 1, Estimate(10.0), Estimate(15.0), 1e-5, firm=True)
    member = Member(key, "echo same b1, p50 latency", change)
    finding = Finding(AlertKind.REGRESSION, "server echo", "echo is slower", "", (member,))
    return Alert(7, "echoes", finding, AlertState.OPEN, run_id, datetime.now(UTC), run_id, 1)


@pytest.fixture
def database(world: World, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A night that is its own last good one."""
    for name in ("NIGHTBENCH_HOME", "NIGHTBENCH_CACHE", "NIGHTBENCH_SERVERS_PATH"):
        monkeypatch.setenv(name, str(world.home / {"H": "home", "C": "cache", "S": "servers"}[name[11]]))
    world.write(package_ms=1)
    run_id = world.night()
    found = Database(world, alert_of(world, run_id, run_id))
    monkeypatch.setattr(command, "current_store", lambda *_: found)
    return found


def test_what_cannot_be_bisected_is_a_sentence(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one test, since they share a night that takes seconds to measure."""
    world, run_id = database.world, database.one.last_run_id
    with pytest.raises(UsageError, match=r"nothing that can be changed back differs .* nothing at all differs"):
        command.bisect(7)

    whole, records = database.one, world.nights[run_id]
    database.one = replace(whole, finding=replace(whole.finding, members=(), kind=AlertKind.MISSING_NIGHT))
    with pytest.raises(UsageError, match="alert 7: is about no series"):
        command.bisect(7)

    database.one = replace(whole, last_run_id="elsewhen")
    world.nights["elsewhen"] = []
    with pytest.raises(UsageError, match="'elsewhen': is not in the database"):
        command.bisect(7)

    database.one = whole
    world.nights[run_id] = [each for each in records if not isinstance(each, KitRecord)]
    with pytest.raises(UsageError, match="did not store what echo was made of"):
        command.bisect(7)

    world.nights[run_id] = [each for each in records if not isinstance(each, MeasurementRecord)]
    with pytest.raises(UsageError, match="has no measurement of echo same"):
        command.bisect(7)

    begun = next(each for each in records if isinstance(each, RunStarted))
    world.nights[run_id] = [replace(begun, hardware="an abacus"), *records]
    with pytest.raises(UsageError, match=r"made on an abacus, and this is .*; bisect it there"):
        command.bisect(7)


def test_the_result_is_printed_for_people_and_as_json(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    what = Differences({"package torch": "2.12.0 -> 2.13.0", "code": "serve.py changed"}, {"kernel": "6.1 -> 6.2"})
    tried = Mixture(
        "mixture 1", frozenset(what.changed), Decided(Outcome.CONFIRMED, "changed by +50 %", Estimate(1.5, 1.4, 1.6), 4)
    )
    bisection = Bisection(Found(("package torch",), 2, ()), what, (tried,))
    monkeypatch.setattr(command, "find", lambda *_: bisection)
    command.bisect(7)
    printed = capsys.readouterr().out
    assert "the culprit is package torch (2.12.0 -> 2.13.0); 2 mixtures tested" in printed.splitlines()[-1]
    assert "not changed back: kernel: 6.1 -> 6.2" in printed

    command.bisect(7, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["culprits"], told["certain"]) == (["package torch"], True)
    assert told["tests"][0]["outcome"] == "confirmed"
    assert told["good_run_id"] == database.one.last_run_id


@pytest.mark.parametrize(
    ("found", "outcome", "said"),
    [
        (
            Found((), 1, ()),
            Outcome.REFUTED,
            "is as fast as last-good (why); not changed back: os",
        ),
        (Found((), 1, ()), Outcome.UNCONFIRMABLE, "could not be told from last-good (why)"),
        (
            Found(("code", "option x"), 6, ()),
            Outcome.CONFIRMED,
            "smallest set found is code (c), option x (1 -> 2)",
        ),
        (Found(("code", "option x"), 6, (frozenset({"code"}),)), Outcome.CONFIRMED, "a part of it may be enough"),
    ],
)
def test_every_end_is_told(found: Found, outcome: Outcome, said: str) -> None:
    what = Differences({"code": "c", "option x": "1 -> 2"}, {"os": "a -> b"})
    assert said in Bisection(found, what, (Mixture("1", frozenset(what.changed), Decided(outcome, "why")),)).said
