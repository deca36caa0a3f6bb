"""`nightbench alerts`, as a person reads and answers it in the morning."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cyclopts import App

from db import embedded
from db.migrate import migrate
from db.store import Store
from flows.commands.alerts import alerts
from nightbench.errors import UsageError
from nightbench.figures import Estimate
from nightbench.judge.alert import Alert, AlertKind, Finding, Member
from nightbench.judge.notice import NoticeState
from nightbench.judge.series import Metric, SeriesKey
from nightbench.judge.verdict import Change, Outcome
from nightbench.record import ConfirmationRecord
from tests.flows.conftest import Bench, bench_at

# As the command line does, whether it knows the command already or not.
RUN = """
from flows import cli
if "alerts" not in cli.COMMANDS:
    cli.app.command("flows.commands.alerts:alerts", name="alerts")
cli.main()
"""
NOW = datetime.now(UTC)
KEY = SeriesKey("nightly", "f" * 32, Metric.LATENCY_P50_NS)
CHANGE = Change("night-3", "night-2", 2, Estimate(4e6, 3.9e6, 4.1e6), Estimate(4.4e6, 4.3e6, 4.5e6), 2e-5, True)
MEMBER = Member(KEY, "triton · resnet50 · closed 4", CHANGE, Estimate(1.1, 1.08, 1.12), "c1")
SLOW = Finding(
    *(AlertKind.REGRESSION, "triton", "[bold]triton is 10 % slower", "1 of 6 series", (MEMBER,)),
    *({"package torch": "2.12.0 -> 2.13.0"}, 0.1),
)
GONE = Finding(AlertKind.FAILED_SERVER, "vllm", "vllm did not come up", "died: exit 139")
RERUN = ConfirmationRecord(
    *("night-3", "c1", "nightly", KEY.fingerprint, KEY.metric, Outcome.CONFIRMED, "10 % slower in 4 of 4 pairs"),
    *("night-2", {}, {"kernel": "6.1 -> 6.2"}, Estimate(1.1, 1.08, 1.12), 4, 90 * 10**9),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Bench]:
    made = bench_at(tmp_path_factory.mktemp("alerts"), shared_cache)
    migrate(embedded.start(made.home))
    try:
        yield made
    finally:
        embedded.stop(made.home)


@pytest.fixture
def store(home: Bench) -> Iterator[Store]:
    with Store(embedded.start(home.home)) as opened:
        yield opened


@pytest.fixture
def suite(request: pytest.FixtureRequest) -> str:
    """A suite of the test's own, for all share one database."""
    return request.node.name.removeprefix("test_")[:30]


def _raised(store: Store, suite: str, *findings: Finding) -> list[Alert]:
    return store.raise_alerts(suite, "night-3", findings or [SLOW], NOW - timedelta(hours=3))


def _alerts(home: Bench, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", RUN, "alerts", *arguments],
        env={**home.environment, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_list_says_what_moved_and_how_far_to_believe_it(home: Bench, store: Store, suite: str) -> None:
    slow, gone = _raised(store, suite, SLOW, GONE)
    store.put_notice("night-3", "slack-webhook/ops", "subject", "body")
    (notice,) = store.claim_notices(NOW)
    store.settle_notice(notice.id, NoticeState.UNKNOWN, "perhaps sent (ReadTimeout)", NOW)
    code, said = _alerts(home, "--suite", suite)
    assert code == 0
    assert "regression: [bold]triton is 10 % slower" in said
    assert "p50 latency 4.00 ms (3.90 to 4.10) -> 4.40 ms (4.30 to 4.50)" in said
    assert "failed_server: vllm did not come up" in said
    assert "night-3 to slack-webhook/ops was perhaps not delivered, and is not sent again: perhaps sent" in said
    code, said = _alerts(home, "--suite", suite, "--json")
    told = json.loads(said)
    assert [alert["number"] for alert in told["alerts"]] == [gone.number, slow.number]
    assert told["alerts"][1]["finding"]["members"][0]["change"]["before"]["value"] == 4e6
    assert told["precision"]["days"] == 90
    assert told["messages_in_trouble"][0]["state"] == "unknown"


def test_what_a_person_says_is_kept_and_counted(home: Bench, store: Store, suite: str) -> None:
    slow, gone = _raised(store, suite, SLOW, GONE)
    assert _alerts(home, "ack", str(slow.number), "--why", "looking") == (
        0,
        f"alert {slow.number} is acknowledged: [bold]triton is 10 % slower\n",
    )
    assert _alerts(home, "resolve", str(slow.number), "--why", "rolled back")[0] == 0
    assert _alerts(home, "false", str(gone.number), "--why", "the disk was full")[0] == 0
    code, said = _alerts(home, "--suite", suite)
    assert "no live alerts; `nightbench alerts --all` lists the closed ones" in said
    assert "of 2 alerts people judged in 90 days, 1 was true: 50 % (9-91)" in said
    code, said = _alerts(home, "--suite", suite, "--all")
    assert (code, "resolved" in said, "false" in said) == (0, True, True)


def test_one_alert_is_shown_with_all_that_is_known_of_it(home: Bench, store: Store, suite: str) -> None:
    (slow,) = _raised(store, suite, replace(SLOW, subject="shown"))
    store.ingest([RERUN, replace(RERUN, confirmation_id="another")])
    code, said = _alerts(home, "show", str(slow.number))
    assert code == 0
    for line in (
        f"alert {slow.number}, open: [bold]triton is 10 % slower",
        "triton · resnet50 · closed 4: p50 latency 4.00 ms (3.90 to 4.10) -> 4.40 ms (4.30 to 4.50), 10.0 % slower",
        "for 2 nights, since night-3; last good: night-2",
        "re-run: 10.0 % slower (8.0 to 12.0 %)",
        "package torch: 2.12.0 -> 2.13.0",
        "confirmed by 4 pairs in 90 s against night-2, p50 latency: 10 % slower in 4 of 4 pairs",
        "not changed back: kernel: 6.1 -> 6.2",
        "open by judge in night-3: [bold]triton is 10 % slower",
    ):
        assert line in said
    told = json.loads(_alerts(home, "show", str(slow.number), "--json")[1])
    assert (told["alert"]["number"], len(told["events"])) == (slow.number, 1)
    assert [each["confirmation_id"] for each in told["confirmations"]] == ["c1"]


def test_an_alert_that_is_not_there_is_a_mistake_of_the_caller_s(home: Bench) -> None:
    code, said = _alerts(home, "ack", "99999", "--why", "x")
    assert (code, "alert 99999: there is none of this number" in said) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ack", "1"], "--why: say why"),
        (["ack", "--why", "x"], "ack: which alert. write its number"),
        (["show"], "show: which alert"),
        (["show", "1", "--why", "x"], "--why: does not go with show"),
        (["ack", "1", "--why", "x", "--json"], "--json: does not go with ack"),
        (["false", "1", "--why", "x", "--all"], "--all: does not go with false"),
        (["resolve", "1", "--why", "x", "--suite", "x"], "--suite: does not go with resolve"),
        (["list", "3"], "NUMBER: does not go with list; write `nightbench alerts show N`"),
        (["list", "--why", "x"], "--why: does not go with list"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_is_opened(arguments: list[str], sentence: str) -> None:
    app = App()
    app.default(alerts)
    with pytest.raises(UsageError, match=sentence):
        app(arguments, exit_on_error=False, print_error=False)
