"""What was due and nobody began: workers that come back after days do not measure all of it at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest

import flows.nightly as module


@pytest.mark.parametrize(
    ("scheduled", "hours", "too_late"),
    [(True, 0.1, False), (True, 11.0, False), (True, 13.0, True), (True, 70.0, True), (False, 70.0, False)],
)
def test_a_night_that_was_due_half_a_day_ago_is_over(
    monkeypatch: pytest.MonkeyPatch, scheduled: bool, hours: float, too_late: bool
) -> None:
    due = datetime.now(UTC) - timedelta(hours=hours)

    @contextmanager
    def client(**_: object) -> Iterator[SimpleNamespace]:
        run = SimpleNamespace(auto_scheduled=scheduled, expected_start_time=due)
        yield SimpleNamespace(read_flow_run=lambda _: run)

    monkeypatch.setattr(module, "get_client", client)
    monkeypatch.setattr(module, "flow_run", SimpleNamespace(id=uuid4()))
    assert module._overdue() == (due if too_late else None)


def test_a_server_that_is_away_makes_no_night_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "get_client", lambda **_: (_ for _ in ()).throw(OSError("away")))
    monkeypatch.setattr(module, "flow_run", SimpleNamespace(id=uuid4()))
    assert module._overdue() is None
