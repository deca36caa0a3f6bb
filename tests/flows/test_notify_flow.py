"""What a night leaves in the outbox, and the whole way of it: a real Postgres, a real Prefect server, real channels."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from db import embedded
from db.store import Store
from flows.notify import EVENTS, RECOVERED, emit_changes, put_message, send_waiting, tell_missing
from nightbench.judge.alert import AlertKind, AlertState
from nightbench.judge.message import Morning
from nightbench.record import Record, RunFinished, RunStarted
from nightbench.settings import Settings
from tests.flows.conftest import Bench, bench_at
from tests.flows.receivers import Box, mail_receiver, web_receiver
from tests.nightbench.test_judge_message import OLD, alert

MORNING = Morning("nightly", "tonight", [alert()], [replace(OLD, number=9)])


def settings(**environment: str) -> Settings:
    return Settings.from_environment(
        {f"NIGHTBENCH_{name.upper()}": value for name, value in environment.items()} | {"HOME": "/nowhere"}
    )


def test_each_channel_gets_the_message_once_in_the_form_that_it_shows() -> None:
    box, channels = Box(), settings(notify="slack-webhook/ops, mattermost-webhook/ops")
    for _ in range(2):
        assert put_message(MORNING, channels, box)
    plain, marked = box.rows.values()
    assert len(box.rows) == 2
    assert plain["subject"] == marked["subject"] == "nightbench nightly: 1 confirmed regression, 1 recovered"
    assert "tiny_cnn · batch 1, p50 latency" in plain["body"]
    assert "tiny\\_cnn · batch 1, p50 latency" in marked["body"]


def test_a_night_without_news_leaves_nothing() -> None:
    box = Box()
    assert not put_message(Morning("nightly", "tonight", []), settings(notify="slack-webhook/ops"), box)
    assert box.rows == {}


def test_without_channels_nobody_asks_for_prefect() -> None:
    sent = send_waiting(settings(), Box())
    assert sent is not None
    assert sent.lines() == []


def test_every_change_of_an_alert_is_an_event_for_automations(monkeypatch: pytest.MonkeyPatch) -> None:
    emitted: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("prefect.events.emit_event", lambda name, **facts: emitted.append((name, facts)))
    emit_changes(replace(MORNING, alerts=[alert(), OLD]))
    (opened, facts), (over, of_old) = emitted
    assert (opened, over) == ("nightbench.regression.confirmed", RECOVERED)
    assert facts["resource"]["prefect.resource.id"] == "nightbench.alert.12"
    assert of_old["resource"]["prefect.resource.id"] == "nightbench.alert.9"
    (member,) = facts["payload"]["members"]
    assert member["rerun_ratio"] == [1.089, 1.102, 1.116]
    json.dumps(facts["payload"])
    assert set(EVENTS) == set(AlertKind)
    # Told again, as after a resume, they are the same two events.
    emit_changes(replace(MORNING, alerts=[alert(), OLD]))
    assert [again["id"] for _, again in emitted[2:]] == [facts["id"], of_old["id"]]
    assert facts["id"] != of_old["id"]


# The whole way.

SAVE = """
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from tasks.smtp_email import SmtpEmail

CustomWebhookNotificationBlock(
    name="ops", url="http://127.0.0.1:{web}/{{{{token}}}}", json_data={{"subject": "{{{{subject}}}}"}},
    secrets={{"token": "s3cret-token"}},
).save("ops")
SmtpEmail(
    host="127.0.0.1", port={mail}, security="none", sender="bench@example.org", recipients=["team@example.org"]
).save("team")
"""

SENDER = """
import sys
from flows.notify import emit_changes, put_message, send_waiting
from nightbench.settings import Settings
from tasks.store import open_store
from tests.flows.test_notify_flow import MORNING

settings = Settings.from_environment()
with open_store(settings) as store:
    put_message(MORNING, settings, store)
    sent = send_waiting(settings, store)
    print(*(sent.lines() if sent else ["no Prefect"]), sep="\\n")
if sys.argv[1:]:
    emit_changes(MORNING)
"""


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[tuple[Bench, str]]:
    bench = bench_at(tmp_path_factory.mktemp("services"), shared_cache)
    try:
        code, output = bench.run("up")
        assert code == 0, output
        state = json.loads((bench.home / "services/prefect.json").read_text())
        yield bench, f"http://127.0.0.1:{state['port']}/api"
    finally:
        bench.run("down")


def started(bench: Bench, code: str, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code, *arguments],
        env={**bench.environment, "PREFECT_LOGGING_LEVEL": "DEBUG", **environment, "PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ran(run_id: str, started_at: datetime, status: Any = "completed") -> list[Record]:
    begun = RunStarted(run_id, "nightly", 1, started_at, "a machine", {}, "name: nightly\n", 1)
    return [begun, RunFinished(run_id, started_at + timedelta(hours=1), status, {})]


def test_two_senders_at_once_bring_one_message_to_every_channel(services: tuple[Bench, str]) -> None:
    bench, api = services
    now = datetime.now(UTC)
    with Store(embedded.start(bench.home)) as store:
        store.ingest(ran("tonight", now - timedelta(hours=2)))
    with web_receiver() as web, mail_receiver() as mail:
        there = {"PREFECT_API_URL": api, "NIGHTBENCH_NOTIFY": "custom-webhook/ops, smtp-email/team, slack-webhook/none"}
        saved = started(bench, SAVE.format(web=web.port, mail=mail.port), **there)
        output, _ = saved.communicate(timeout=120)
        assert saved.returncode == 0, output
        senders = [started(bench, SENDER, *arguments, **there) for arguments in ([], ["with events"])]
        outputs = [sender.communicate(timeout=120)[0] for sender in senders]
        assert [sender.returncode for sender in senders] == [0, 0], outputs
    assert len(web.bodies) == len(mail.mails) == 1
    assert mail.mails[0]["subject"] == "nightbench nightly: 1 confirmed regression, 1 recovered"
    said = "".join(outputs)
    assert said.count("custom-webhook/ops: sent") == said.count("smtp-email/team: sent") == 1
    assert "slack-webhook/none: not delivered, and tried again later: the block slack-webhook/none cannot be" in said
    assert "s3cret" not in said
    (event,) = kept_events(api, "nightbench.regression.confirmed")
    assert event["resource"]["prefect.resource.id"] == "nightbench.alert.12"


def kept_events(api: str, name: str) -> list[dict[str, Any]]:
    """The events of that name, once there is one: Prefect writes them down in batches, some seconds after it took
    them."""
    wanted = {"filter": {"event": {"name": [name]}}}
    for _ in range(120):
        found = httpx.post(f"{api}/events/filter", json=wanted, timeout=30).raise_for_status().json()["events"]
        if found:
            return list(found)
        time.sleep(0.25)
    return []


def test_without_prefect_a_message_waits(services: tuple[Bench, str]) -> None:
    bench, _ = services
    with Store(embedded.start(bench.home)) as store:
        store.ingest(ran("tonight", datetime.now(UTC)))
    sender = started(bench, SENDER, NIGHTBENCH_NOTIFY="custom-webhook/later", PREFECT_API_URL="http://127.0.0.1:1/api")
    output, _ = sender.communicate(timeout=120)
    assert "no Prefect" in output
    with Store(embedded.start(bench.home)) as store:
        waiting = store.claim_notices(datetime.now(UTC))
    assert [notice.channel for notice in waiting] == ["custom-webhook/later"]


def test_a_missing_night_is_told_once_and_is_one_alert(services: tuple[Bench, str]) -> None:
    bench, _ = services
    today = datetime.now(UTC)
    channels = settings(notify="custom-webhook/missed")
    with Store(embedded.start(bench.home)) as store:
        for age in range(2, 12):
            start = today - timedelta(days=age)
            store.ingest(
                [
                    replace(record, suite="weekly") if isinstance(record, RunStarted) else record
                    for record in ran(f"weekly-{age:02}", start)
                ]
            )
        first, again = tell_missing(channels, store), tell_missing(channels, store)
        (live,) = store.alerts(live=True, suite="weekly")
        assert len(store.alerts(suite="weekly")) == 1
        notices = [each for each in store.claim_notices(today) if each.channel.startswith("custom-webhook/missed")]
    assert [(each.suite, each.run_id, each.news) for each in [*first, *again]] == [
        ("weekly", "weekly-02", True),
        ("weekly", "weekly-02", False),
    ]
    assert (live.finding.kind, live.state, live.nights) == (AlertKind.MISSING_NIGHT, AlertState.OPEN, 1)
    (notice,) = notices
    assert notice.subject == "nightbench weekly: 1 missing night"
    assert "no night began" in notice.body


def test_who_lists_the_alerts_sends_what_waits(services: tuple[Bench, str]) -> None:
    """Where no night runs, no night sends anything either: least of all that it is missing."""
    bench, api = services
    today = datetime.now(UTC)
    with Store(embedded.start(bench.home)) as store:
        for age in range(2, 12):
            begun, end = ran(f"gone-{age:02}", today - timedelta(days=age))
            store.ingest([replace(begun, suite="gone"), end])
    with web_receiver() as web:
        saved = started(
            bench,
            SAVE.format(web=web.port, mail=1).replace('("ops")', '("gap")').replace('("team")', '("gap")'),
            PREFECT_API_URL=api,
        )
        output, _ = saved.communicate(timeout=120)
        assert saved.returncode == 0, output
        for _ in range(2):
            there = {"NIGHTBENCH_NOTIFY": "custom-webhook/gap", "PREFECT_LOGGING_LEVEL": "INFO"}
            listing = started(bench, "from flows.cli import main; main()", "alerts", "--suite", "gone", **there)
            output, _ = listing.communicate(timeout=120)
            assert (listing.returncode, "missing_night" in output) == (0, True), output
    subjects = [json.loads(body)["subject"] for body in web.bodies]
    assert subjects.count("nightbench gone: 1 missing night") == 1


def test_a_night_that_comes_after_all_ends_the_gap(services: tuple[Bench, str]) -> None:
    bench, _ = services
    today = datetime.now(UTC)
    channels = settings(notify="custom-webhook/gapped")
    with Store(embedded.start(bench.home)) as store:
        for age in range(2, 12):
            begun, end = ran(f"gapped-{age:02}", today - timedelta(days=age))
            store.ingest([replace(begun, suite="gapped"), end])
        tell_missing(channels, store)
        begun, end = ran("gapped-00", today - timedelta(hours=2))
        store.ingest([replace(begun, suite="gapped"), end])
        back, again = ([each for each in tell_missing(channels, store) if each.suite == "gapped"] for _ in range(2))
        (over,) = store.alerts(suite="gapped")
        mine = [each for each in store.claim_notices(today) if each.channel.startswith("custom-webhook/gapped")]
    assert ([each.number for each in back[0].over], again) == ([over.number], [])
    assert (over.state, over.why) == (AlertState.RESOLVED, "a night came after all: gapped-00")
    told = [notice.subject for notice in mine if notice.run_id.startswith("gapped")]
    assert told == ["nightbench gapped: 1 missing night", "nightbench gapped: 1 recovered"]
