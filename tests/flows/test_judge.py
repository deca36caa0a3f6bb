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
from nightbench.load import ClosedLoop
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


def test_what_nobody_decided_is_not_over_because_history_got_used_to_it(world: World) -> None:
    """The plain rule, like the true one, finds a change of long ago no more."""
    world.answer = lambda suspect: Outcome.UNCONFIRMABLE
    subject = (AlertKind.UNCONFIRMED, "server a, model resnet")
    for _ in range(18):
        judged = night(world, A)
    assert {each.verdict for each in of_tonight(world, A)} == {Verdict.OK}, "fourteen nights are the window"
    assert subject in world.book.live()
    night(world)
    judged = night(world)
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


def test_a_slower_exporter_that_no_re_run_had_time_for_is_compared_again_the_next_night(world: World) -> None:
    newer = replace(A, artifact_sha256="f" * 64)
    for metric in (Metric.THROUGHPUT_RPS, Metric.LATENCY_P50_NS, Metric.LATENCY_P99_NS):
        new, old = (SeriesKey("nightly", each.fingerprint, metric) for each in (newer, A))
        world.book.heirs[new] = old
    decides, world.answer = world.answer, lambda suspect: None
    for _ in range(2):
        assert not night(world, newer, cells=[newer, *CELLS[1:]]).alerts
    world.answer = decides
    judged = night(world, newer, cells=[newer, *CELLS[1:]])
    assert {(each.finding.kind, each.finding.subject) for each in judged.alerts} == {REGRESSION}


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


def test_a_fault_of_re_runs_costs_neither_the_judgements_nor_the_other_alerts(world: World) -> None:
    def confirm(session: Session, suspects: Sequence[Suspect], budget_ns: int) -> list[ConfirmationRecord]:
        raise AttributeError("'LaunchContext' object has no attribute 'then'")

    for _ in range(4):
        judged = night(world, A, confirm=confirm, records=[deployed(CELLS[1], 1, "no memory")])
    assert judged.verdicts == {Verdict.OK: 12, Verdict.SUSPECTED: 3}
    assert {kind for kind, _ in world.book.live()} == {AlertKind.FAILED_SERVER, AlertKind.UNCONFIRMED}
    assert any("re-runs failed: AttributeError" in line for line in world.notes.lines)


def test_what_gets_worse_while_an_alert_is_open_about_it_is_confirmed_and_said(world: World) -> None:
    for _ in range(14):
        night(world, A)
    ((opened),) = world.book.live().values()
    asked = len(world.asked)
    halved = {"rounds": 2, "rps": 42.0, "p50_ms": 9.4, "p99_ms": 21.2}
    for _ in range(2):
        judged = world.night([(each, halved if each is A else {"rounds": 2}) for each in CELLS])
        assert judged is not None
    assert len(world.asked) > asked
    (alert,) = judged.alerts
    assert (alert.number, alert.finding.title == opened.finding.title) == (opened.number, False)
    then = {member.key: member.change for member in opened.finding.members}
    for member in alert.finding.members:
        assert member.change.before == then[member.key].before, "where it is to recover to"
        assert member.change.after != then[member.key].after


def test_what_recovers_does_not_take_with_it_what_gets_worse_the_same_night(world: World) -> None:
    """Both are of one server and model, so of one alert: a fix for one load that costs another."""
    other = replace(A, load=ClosedLoop(8))
    world.past([*CELLS, other])
    cells = [*CELLS, other]
    for _ in range(2):
        night(world, A, cells=cells)
    assert REGRESSION in world.book.live()
    night(world, cells=cells)
    both = night(world, other, cells=cells)
    assert {each.verdict for each in of_tonight(world, A)} <= {Verdict.OK, Verdict.INSUFFICIENT}
    assert {each.verdict for each in of_tonight(world, other)} == {Verdict.REGRESSED}
    assert both.recovered == ()
    alert = world.book.live()[REGRESSION]
    assert {member.key.fingerprint for member in alert.finding.members} == {other.fingerprint}


def test_a_night_killed_before_its_alerts_were_raised_raises_them_when_judged_again(tmp_path: Path) -> None:
    class Killed(Book):
        dies = True

        def raise_alerts(self, *given: Any) -> Any:
            if self.dies and any(finding.kind is AlertKind.REGRESSION for finding in given[2]):
                raise KeyboardInterrupt
            return super().raise_alerts(*given)

    book = Killed()
    world = World(tmp_path, book)
    world.past(CELLS)
    with pytest.raises(KeyboardInterrupt):
        any(run(world, A) is None for _ in range(3))
    assert not [why for _, why, _ in book.baselines.values() if why == "regressed"], "it would never be found again"
    book.dies = False
    world.nights -= 1
    run(world, A)
    assert set(book.live()) == {REGRESSION}


def test_what_a_person_closes_during_the_re_runs_is_not_opened_once_more(world: World) -> None:
    for _ in range(2):
        night(world, A)
    assert REGRESSION in world.book.live()

    def confirm(session: Session, suspects: Sequence[Suspect], budget_ns: int) -> list[ConfirmationRecord]:
        world.book.book = [replace(each, state=AlertState.RESOLVED) for each in world.book.book]
        return []

    for _ in range(2):
        night(world, A, CELLS[1], confirm=confirm)
    assert not [alert for alert in world.book.alerts(live=True) if alert.finding.subject == REGRESSION[1]]
    assert len([alert for alert in world.book.book if alert.finding.subject == REGRESSION[1]]) == 1


def test_what_gets_slower_after_the_machine_did_is_checked_as_well(world: World) -> None:
    """The machine was checked on its first night; who joins it later may have a cause of his own."""
    early = CELLS[:4]
    world.answer = lambda suspect: Outcome.ENVIRONMENT
    night(world, *early)
    night(world, *early)
    assert world.asked
    world.answer = lambda suspect: Outcome.CONFIRMED if suspect.cell.setup.server == "e" else Outcome.ENVIRONMENT
    night(world, *CELLS)
    assert (AlertKind.REGRESSION, "server e, model resnet") in world.book.live()
    assert {each.verdict for each in of_tonight(world, A)} == {Verdict.ENVIRONMENT}, "a re-run had said so"


def test_a_check_that_found_no_time_is_made_again(world: World) -> None:
    world.answer = lambda suspect: Outcome.UNCONFIRMABLE
    for _ in range(2):
        night(world, *CELLS)
    counted = len(world.asked)
    assert counted == 2
    world.answer = lambda suspect: Outcome.CONFIRMED
    night(world, *CELLS)
    assert len(world.asked) > counted
    assert {kind for kind, _ in world.book.live()} == {AlertKind.REGRESSION}


class Down(Book):
    def series_of(self, run_id: str, nights: int) -> Any:
        raise RuntimeError("the database is down")


def test_a_fault_of_judging_costs_nothing_but_the_judgement(tmp_path: Path) -> None:
    world = World(tmp_path, Down())
    judged = run(world)
    assert judged is not None
    assert judged.failure == "RuntimeError: the database is down"
    assert world.notes.lines == ["the night was not judged to its end: RuntimeError: the database is down"]


@pytest.mark.parametrize("error", [Cancelled("stop"), Stopped("stop")])
def test_a_run_that_is_cancelled_is_cancelled(world: World, error: Exception) -> None:
    def confirm(session: Session, suspects: Sequence[Suspect], budget_ns: int) -> list[ConfirmationRecord]:
        raise error

    with pytest.raises(type(error)):
        run(world, A, confirm=confirm)
