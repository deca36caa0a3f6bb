"""A night judged end to end, with re-runs that answer as told and a memory that is no database."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nightbench.figures import Doubt, Reason
from nightbench.judge.alert import AlertKind, AlertState
from nightbench.judge.night import Suspect
from nightbench.judge.series import Metric, SeriesKey
from nightbench.judge.verdict import Outcome, Verdict
from nightbench.record import Case, ConfirmationRecord, JudgementRecord
from nightbench.stopping import Stopped
from tasks.judge import Judged, judge_night
from tasks.session import Cancelled, Session
from tests.flows.judging import Book, World, deployed
from tests.nightbench.judged import case, plain_rule

__all__ = ["plain_rule"]

pytestmark = pytest.mark.usefixtures("plain_rule")

CELLS = [case(server) for server in ("a", "b", "c", "d", "e")]
A = CELLS[0]
REGRESSION = (AlertKind.REGRESSION, "server a, model resnet")
MACHINE = (AlertKind.ENVIRONMENT, "machine")
SLOW = {"rps": 85.0, "p50_ms": 4.7, "p99_ms": 10.6}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.past(CELLS)
    return made


def run(world: World, *slow: Case, cells: list[Case] | None = None, **given: Any) -> Judged | None:
    """One night, on which ``slow`` are slower by a sixth."""
    return world.night([(each, {"rounds": 2, **(SLOW if each in slow else {})}) for each in cells or CELLS], **given)


def night(world: World, *slow: Case, **given: Any) -> Judged:
    judged = run(world, *slow, **given)
    assert judged is not None, world.notes.lines
    return judged


def of_tonight(world: World, of: Case) -> list[JudgementRecord]:
    records = world.book.runs[f"{world.nights:03}"]
    return [each for each in records if isinstance(each, JudgementRecord) and each.fingerprint == of.fingerprint]


def test_a_calm_night_says_ok_and_sets_anchors(world: World) -> None:
    judged = night(world)
    assert judged.verdicts == {Verdict.OK: 15}
    assert (judged.alerts, judged.recovered, world.asked) == ((), (), [])
    assert {why for _, why, _ in world.book.baselines.values()} == {"anchor"}
    assert world.notes.lines == ["judged 15 series: 15 ok; 0 alerts opened, 0 continue, 0 recovered"]


def test_one_slow_server_is_confirmed_alerted_followed_and_recovers(world: World) -> None:
    judged = night(world, A)
    if not judged.alerts:  # one night may be too little for history to be heard
        judged = night(world, A)
    (alert,) = judged.opened
    assert (alert.finding.kind, alert.finding.subject) == REGRESSION
    assert {member.key.metric for member in alert.finding.members} == {
        Metric.THROUGHPUT_RPS,
        Metric.LATENCY_P50_NS,
        Metric.LATENCY_P99_NS,
    }
    assert all(member.confirmation_id for member in alert.finding.members)
    assert alert.finding.changed["package torch"] == "2.12.0 -> 2.13.0"
    assert {each.verdict for each in of_tonight(world, A)} == {Verdict.REGRESSED}
    assert {suspect.cell.setup.server for suspect in world.asked} == {"a"}

    asked = len(world.asked)
    again = night(world, A)
    assert [each.number for each in again.alerts] == [alert.number]
    assert (again.opened, again.alerts[0].nights, len(world.asked)) == ((), 2, asked)
    assert {each.verdict for each in of_tonight(world, A)} == {Verdict.REGRESSED}

    assert night(world).recovered == ()
    over = night(world)
    assert [each.number for each in over.recovered] == [alert.number]
    assert world.book.live() == {}
    key = SeriesKey("nightly", A.fingerprint, Metric.LATENCY_P50_NS)
    since, why, anchor = world.book.baselines[key]
    assert (since, why) == (f"{world.nights - 1:03}", "recovered")
    assert anchor is not None
    assert anchor.value == pytest.approx(4e6, rel=0.02)


def test_all_servers_slower_at_once_are_one_alert_about_the_machine(world: World) -> None:
    world.answer = lambda suspect: Outcome.ENVIRONMENT
    judged = night(world, *CELLS)
    world.context = {"kernel": "6.2.0"}
    judged = night(world, *CELLS)
    assert set(world.book.live()) == {MACHINE}
    assert len(judged.alerts) == 1
    assert len(judged.alerts[0].finding.members) == 15
    assert judged.alerts[0].finding.changed == {"kernel": "6.1.0 -> 6.2.0"}
    assert len(world.asked) <= 2, "one a night, as a check"
    for _ in range(5):
        night(world, *CELLS)
    assert {why for _, why, _ in world.book.baselines.values()} == {"environment"}
    assert world.book.live() == {}, "the new level is the baseline, and no news"
    assert len(world.book.book) == 1


def test_where_the_check_shows_the_servers_slower_the_machine_is_no_excuse(world: World) -> None:
    judged = night(world, *CELLS)
    if not judged.alerts:
        judged = night(world, *CELLS)
    assert {each.finding.kind for each in judged.alerts} == {AlertKind.REGRESSION}
    assert len(world.asked) == 15
    assert judged.verdicts[Verdict.REGRESSED] == 15


def test_what_is_refuted_raises_nothing_and_is_not_re_run_every_night(world: World) -> None:
    world.answer = lambda suspect: Outcome.REFUTED
    for _ in range(3):
        night(world, A)
    asked = {suspect.key.metric for suspect in world.asked}
    assert asked
    assert world.book.book == []
    counted = len(world.asked)
    night(world, A)
    assert len(world.asked) == counted
    assert {each.verdict for each in of_tonight(world, A)} == {Verdict.OK}
    assert all("refuted" in each.detail for each in of_tonight(world, A) if each.change is not None)


def test_what_no_re_run_can_decide_is_alerted_as_that_and_ends_with_a_decision(world: World) -> None:
    world.answer = lambda suspect: Outcome.UNCONFIRMABLE
    for _ in range(4):
        night(world, A)
    assert set(world.book.live()) == {(AlertKind.UNCONFIRMED, "server a, model resnet")}
    world.answer = lambda suspect: Outcome.CONFIRMED
    judged = night(world, A)
    assert set(world.book.live()) == {REGRESSION}
    assert [each.finding.kind for each in judged.recovered] == [AlertKind.UNCONFIRMED]


def test_a_night_without_time_for_re_runs_leaves_its_suspicions_standing(world: World) -> None:
    world.answer = lambda suspect: None
    for _ in range(4):
        judged = night(world, A)
    assert judged.verdicts[Verdict.SUSPECTED] == 3
    assert {each.finding.kind for each in judged.alerts} == {AlertKind.UNCONFIRMED}
    assert any("time for re-runs" in each.detail for each in of_tonight(world, A))


def test_doubted_figures_are_never_judged(world: World) -> None:
    doubt = Doubt(Reason.FOREIGN_LOAD, "others used the processor")
    judged = world.night([(each, {"rounds": 2, **SLOW, "doubts": [doubt]}) for each in CELLS])
    assert judged is not None
    assert judged.verdicts == {Verdict.INVALID: 15}
    assert (judged.alerts, world.asked) == ((), [])


def test_a_server_that_does_not_come_up_is_an_alert_until_it_does(world: World) -> None:
    judged = night(world, records=[deployed(A, 1, "no memory"), deployed(A, 2, "no memory")])
    assert {(each.finding.kind, each.finding.subject) for each in judged.alerts} == {
        (AlertKind.FAILED_SERVER, "server a")
    }
    assert night(world).alerts == (), "nothing is known of it tonight"
    assert len(world.book.live()) == 1
    judged = night(world, records=[deployed(A, 1), deployed(A, 2)])
    assert [each.state for each in judged.recovered] == [AlertState.RESOLVED]


def test_a_slower_exporter_is_compared_with_the_one_before(world: World) -> None:
    newer = replace(A, artifact_sha256="f" * 64)
    for metric in (Metric.THROUGHPUT_RPS, Metric.LATENCY_P50_NS, Metric.LATENCY_P99_NS):
        new, old = (SeriesKey("nightly", each.fingerprint, metric) for each in (newer, A))
        world.book.heirs[new] = old
    judged = night(world, newer, cells=[newer, *CELLS[1:]])
    assert {suspect.predecessor for suspect in world.asked} == {A.fingerprint}
    assert {(each.finding.kind, each.finding.subject) for each in judged.alerts} == {REGRESSION}
    assert judged.verdicts[Verdict.REGRESSED] == 3
    again = night(world, newer, cells=[newer, *CELLS[1:]])
    assert [each.nights for each in again.alerts] == [2]


def test_the_budget_is_a_share_of_the_night(world: World) -> None:
    budgets: list[int] = []

    def confirm(session: Session, suspects: Sequence[Suspect], budget_ns: int) -> list[ConfirmationRecord]:
        budgets.append(budget_ns)
        return []

    for _ in range(3):
        night(world, A, confirm=confirm)
    assert budgets
    assert all(360e9 <= budget < 370e9 for budget in budgets)


def test_without_a_database_nothing_is_judged(world: World) -> None:
    with world.session(None) as session:
        assert judge_night(session) is None
    assert "that takes the database" in world.notes.lines[0]


class Down(Book):
    def series_of(self, run_id: str, nights: int) -> Any:
        raise RuntimeError("the database is down")


def test_a_fault_of_judging_costs_nothing_but_the_judgement(tmp_path: Path) -> None:
    world = World(tmp_path, Down())
    assert run(world) is None
    assert world.notes.lines == ["the night was not judged to its end: RuntimeError: the database is down"]


@pytest.mark.parametrize("error", [Cancelled("stop"), Stopped("stop")])
def test_a_run_that_is_cancelled_is_cancelled(world: World, error: Exception) -> None:
    def confirm(session: Session, suspects: Sequence[Suspect], budget_ns: int) -> list[ConfirmationRecord]:
        raise error

    with pytest.raises(type(error)):
        run(world, A, confirm=confirm)
