"""What moved together is one alert, and keeps its name while it lives."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from nightbench.figures import Estimate
from nightbench.judge.alert import Alert, AlertKind, AlertState, Finding, Member
from nightbench.judge.context import differences
from nightbench.judge.environment import Machine, Move
from nightbench.judge.grouping import Tonight, group, machine_finding, merged
from nightbench.judge.night import NightSeries
from nightbench.judge.series import Metric
from nightbench.judge.verdict import Change, Outcome
from nightbench.load import ClosedLoop
from nightbench.record import ConfirmationRecord
from tests.nightbench.judged import SUITE, series

NOW = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)
KIND = AlertKind.REGRESSION


def changed(by: float, since: str = "night-38") -> Change:
    return Change(since, "night-37", 2, Estimate(100.0), Estimate(100.0 * by), 1e-6, firm=True)


def member(of: NightSeries, by: float = 1.2, ratio: Estimate | None = None, confirmation: str | None = None) -> Member:
    return Member(of.key, of.label, changed(by), ratio, confirmation)


def matrix(servers: Sequence[str], models: Sequence[str]) -> dict[tuple[str, str], NightSeries]:
    return {(server, model): series([100.0], server, model) for server in servers for model in models}


def grouped(known: dict[tuple[str, str], NightSeries], moved: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Subjects with the number of their members."""
    tonight = Tonight({each.key: each for each in known.values()})
    return {each.subject: len(each.members) for each in group(KIND, [member(known[pair]) for pair in moved], tonight)}


def test_one_server_with_several_models_is_one_alert() -> None:
    known = matrix(["a", "b", "c"], ["x", "y", "z"])
    assert grouped(known, [("a", "x"), ("a", "y")]) == {"server a": 2}


def test_one_model_on_several_servers_is_one_alert() -> None:
    known = matrix(["a", "b", "c"], ["x", "y", "z"])
    assert grouped(known, [("a", "x"), ("b", "x")]) == {"model x": 2}


def test_what_has_nothing_in_common_stays_apart() -> None:
    known = matrix(["a", "b", "c"], ["x", "y", "z"])
    assert grouped(known, [("a", "x"), ("b", "y")]) == {"server a, model x": 1, "server b, model y": 1}


def test_two_of_many_models_of_a_server_are_no_trouble_of_the_server() -> None:
    known = matrix(["a", "b"], ["u", "v", "w", "x", "y"])
    assert set(grouped(known, [("a", "x"), ("a", "y")])) == {"server a, model x", "server a, model y"}


def test_the_cause_that_explains_more_goes_first() -> None:
    known = matrix(["a", "b", "c"], ["x", "y", "z"])
    assert grouped(known, [("a", "x"), ("a", "y"), ("a", "z"), ("b", "x")]) == {"server a": 3, "server b, model x": 1}


def test_loads_and_metrics_of_one_model_on_one_server_are_one_alert_the_worst_first() -> None:
    of = [
        series([100.0]),
        series([100.0], metric=Metric.THROUGHPUT_RPS),
        series([100.0], load=ClosedLoop(16)),
    ]
    members = [member(of[0], 1.2), member(of[1], 0.5), member(of[2], 1.1)]
    (found,) = group(KIND, members, Tonight({each.key: each for each in of}))
    assert found.subject == "server triton, model resnet"
    assert [each.key.metric for each in found.members][:1] == [Metric.THROUGHPUT_RPS]
    assert found.severity == pytest.approx(1.0), "half as often is as bad as twice as long"
    assert "and 2 other series" in found.title


def alert(finding: Finding, state: AlertState = AlertState.OPEN) -> Alert:
    return Alert(1, SUITE, finding, state, "night-38", NOW, "night-38", 1)


def test_a_member_of_a_live_alert_stays_with_it() -> None:
    known = matrix(["a", "b"], ["x", "y"])
    tonight = {each.key: each for each in known.values()}
    (old,) = group(KIND, [member(known["a", "x"])], Tonight(tonight))
    assert old.subject == "server a, model x"
    moved = [member(known["a", "x"]), member(known["a", "y"])]
    again = group(KIND, moved, Tonight(tonight, live=[alert(old)]))
    assert {each.subject for each in again} == {"server a, model x", "server a, model y"}


def test_an_alert_of_another_kind_names_nothing() -> None:
    known = matrix(["a"], ["x", "y"])
    tonight = {each.key: each for each in known.values()}
    old = Finding(AlertKind.UNCONFIRMED, "server a, model x", "t", "d", (member(known["a", "x"]),))
    (found,) = group(KIND, [member(each) for each in known.values()], Tonight(tonight, live=[alert(old)]))
    assert found.subject == "server a"


def test_the_finding_says_what_changed_since_the_last_good_night() -> None:
    of = series([100.0])
    record = ConfirmationRecord(
        "tonight", "c1", SUITE, of.key.fingerprint, of.key.metric, Outcome.CONFIRMED, "4 of 4 pairs are slower",
        "night-37", {"package torch": "2.12.0 -> 2.13.0"}, {"kernel": "6.1.0 -> 6.1.2"}, None, 4, 1,
    )  # fmt: skip
    changes = {"night-37": {"nightbench": "1.0 -> 1.1"}, "night-01": {"cpu": "another"}}
    tonight = Tonight({of.key: of}, {"c1": record}, changed=changes)
    (found,) = group(KIND, [member(of, ratio=Estimate(1.21, 1.18, 1.24), confirmation="c1")], tonight)
    assert found.changed == {
        "nightbench": "1.0 -> 1.1",
        "package torch": "2.12.0 -> 2.13.0",
        "kernel": "6.1.0 -> 6.1.2",
    }
    assert found.title.startswith("server triton, model resnet: p50 latency 21")
    assert "since night-38, last good on night-37" in found.detail
    assert "4 of 4 pairs" in found.detail


def test_what_is_new_joins_the_alert_that_lives() -> None:
    known = matrix(["a"], ["x", "y"])
    old = Finding(KIND, "server a", "t", "d", (member(known["a", "x"], 1.5),), {"old": "1 -> 2"}, 0.5)
    new = Finding(KIND, "server a", "n", "d", (member(known["a", "y"], 1.2),), {"new": "1 -> 2"}, 0.2)
    other = Finding(KIND, "server b", "o", "d", severity=0.9)
    first, second = merged([old], [new, other])
    assert first is other
    assert [each.key for each in second.members] == [known["a", "x"].key, known["a", "y"].key]
    assert (second.title, second.severity, set(second.changed)) == ("n", 0.5, {"old", "new"})


def test_a_machine_that_changed_is_one_finding_with_all_that_moved() -> None:
    known = matrix(["a", "b"], ["x", "y"])
    machine = Machine((Move("a matrix product", "cpu", changed(1.2)),))
    tonight = Tonight({each.key: each for each in known.values()}, changed={"night-37": {"kernel": "6.1 -> 6.2"}})
    found = machine_finding(machine, [member(each) for each in known.values()], tonight)
    assert (found.kind, found.subject, len(found.members)) == (AlertKind.ENVIRONMENT, "machine", 4)
    assert found.title == "the machine changed: a matrix product 20.0 % slower"
    assert found.detail.startswith("4 series of 2 servers got worse with it")
    assert found.changed == {"kernel": "6.1 -> 6.2"}
    assert machine_finding(machine, [], tonight).severity == 0.0


def test_a_context_is_compared_where_both_nights_wrote_it_down() -> None:
    before = {"kernel": "6.1.0", "git_sha": "aaa", "suite_folder": "/x", "cpu": "same"}
    tonight = {"kernel": "6.1.2", "git_sha": "bbb", "suite_folder": "/y", "cpu": "same", "gpu": "new to us"}
    assert differences(
        before, tonight, {"triton": "2.50", "flask": ""}, {"triton": "2.51", "flask": "3", "ray": "1"}
    ) == {
        "kernel": "6.1.0 -> 6.1.2",
        "nightbench's commit": "aaa -> bbb",
        "server triton": "2.50 -> 2.51",
    }
