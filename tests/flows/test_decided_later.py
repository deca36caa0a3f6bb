"""What people are told once a re-run that was asked for has decided an alert."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import notify
from nightbench.figures import Estimate
from nightbench.judge.alert import Alert, AlertKind, AlertState, Finding, Member
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.series import Metric, SeriesKey
from nightbench.judge.verdict import Change, Outcome
from nightbench.record import ConfirmationRecord
from nightbench.settings import Settings
from tasks.ab.afterwards import Settled

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
KEY = SeriesKey("nightly", "f00d", Metric.LATENCY_P50_NS)
CHANGE = Change("night-3", "night-2", 2, Estimate(4e6), Estimate(5e6), 1e-5, firm=True)
MEMBER = Member(KEY, "fastapi · tiny_cnn, p50 latency", CHANGE, Estimate(1.25, 1.2, 1.3), "night-4-c1")


def alert(kind: AlertKind, number: int, **changes: Any) -> Alert:
    finding = Finding(kind, "server fastapi", "server fastapi: p50 latency 25 % longer", "", (MEMBER,))
    return replace(Alert(number, "nightly", finding, AlertState.OPEN, "night-4", NOW, "night-4", 1), **changes)


def record(outcome: Outcome, group: str = "c1") -> ConfirmationRecord:
    return ConfirmationRecord(
        *("night-4", f"night-4-{group}", KEY.suite, KEY.fingerprint, KEY.metric, outcome, "over 8 pairs", "night-2"),
        *({}, {}, Estimate(1.25, 1.2, 1.3), 8, 1),
    )


class Outbox:
    """Keeps what `db.store.Store` would: a night's message for a channel once."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, str], str] = {}

    def put_notice(self, run_id: str, channel: str, subject: str, body: str) -> bool:
        return self.told.setdefault((run_id, channel), subject) is subject

    def precision(self, days: int, now: datetime) -> None: ...


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> Outbox:
    monkeypatch.setattr(notify, "prefect_is_there", lambda: False)
    return Outbox()


def tell(outbox: Outbox, settled: Settled, *records: ConfirmationRecord) -> list[str]:
    settings = Settings.from_environment({"NIGHTBENCH_NOTIFY": "custom-webhook/ops"})
    session: Any = SimpleNamespace(settings=settings, suite=SimpleNamespace(judge=JudgePolicy()), folder=Path("run"))
    asked = alert(AlertKind.UNCONFIRMED, 7)
    notify.tell_settled(asked, settled, records, session, outbox, "http://127.0.0.1:4200/runs/1")  # type: ignore[arg-type]  # a stand-in
    return list(outbox.told.values())


OVER = alert(AlertKind.UNCONFIRMED, 7, state=AlertState.RESOLVED, why="decided by a re-run: 1 series refuted")


def test_a_regression_that_is_confirmed_is_told_as_such(outbox: Outbox) -> None:
    settled = Settled((alert(AlertKind.REGRESSION, 8),), (OVER,))
    assert tell(outbox, settled, record(Outcome.CONFIRMED)) == ["nightbench nightly: 1 confirmed regression"]


def test_what_is_refuted_is_told_to_be_over(outbox: Outbox) -> None:
    assert tell(outbox, Settled((), (OVER,)), record(Outcome.REFUTED)) == ["nightbench nightly: 1 recovered"]


def test_nothing_decided_is_nothing_to_tell(outbox: Outbox) -> None:
    assert tell(outbox, Settled(), record(Outcome.UNCONFIRMABLE)) == []


def test_a_regression_that_a_person_has_called_false_is_not_told_as_a_recovery(outbox: Outbox) -> None:
    assert tell(outbox, Settled((), (OVER,)), record(Outcome.CONFIRMED)) == []


def test_each_re_run_of_an_alert_has_a_message_of_its_own(outbox: Outbox) -> None:
    settled = Settled((alert(AlertKind.REGRESSION, 8),))
    tell(outbox, settled, record(Outcome.CONFIRMED, "c1"))
    assert len(tell(outbox, settled, record(Outcome.CONFIRMED, "c1"))) == 1, "told twice"
    assert len(tell(outbox, settled, record(Outcome.CONFIRMED, "c2"))) == 2
