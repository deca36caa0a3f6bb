"""`nightbench deploy`: what it makes, that it can be done again, and the schedule it makes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.server.schemas.schedules import CronSchedule

from flows.automations import longest_gap
from flows.pools import pool_name
from nightbench.errors import UsageError
from nightbench.settings import CRON, Settings
from tests.flows.conftest import Bench, bench_at
from tests.flows.receivers import web_receiver
from tests.flows.working import Works, wait_for, works

OWN = """
name: own
sweeps: [{models: [tiny_cnn], servers: [toy], loads: [closed: 1]}]
"""
NOTHING = "nothing had to be changed"

# No server.


def dates(cron: str, zone: str, start: datetime, nights: int) -> list[datetime]:
    """When Prefect's server would begin them, by the zone's clock."""
    schedule = CronSchedule(cron=cron, timezone=zone)
    found = asyncio.run(schedule.get_dates(n=nights, start=start))
    return [each.astimezone(ZoneInfo(zone)) for each in found]


ZONES = ["UTC", "Europe/Berlin", "Europe/London", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe"]


@given(
    zone=st.sampled_from(ZONES),
    day=st.dates(datetime(2026, 1, 1).date(), datetime(2029, 1, 1).date()),  # noqa: DTZ001 - calendar days
    hour=st.integers(0, 23),
    minute=st.sampled_from([0, 15, 30, 45]),
)
def test_every_day_has_one_night_whatever_the_clocks_do(zone: str, day: Any, hour: int, minute: int) -> None:
    start = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    found = dates(f"{minute} {hour} * * *", zone, start, 10)
    days = [each.date() for each in found]
    assert [later - earlier for earlier, later in pairwise(days)] == [timedelta(days=1)] * 9
    assert all(timedelta(hours=22) < later - earlier < timedelta(hours=26) for earlier, later in pairwise(found))


def test_the_usual_time_is_there_on_the_days_when_clocks_change() -> None:
    for month, day in ((3, 27), (10, 23)):
        found = dates(CRON, "Europe/Berlin", datetime(2026, month, day, tzinfo=UTC), 4)
        assert {(each.hour, each.minute) for each in found} == {(3, 30)}
        assert len({each.utcoffset() for each in found}) == 2


def test_a_night_is_missing_after_the_longest_gap_of_its_schedule() -> None:
    workdays = dates("0 2 * * 1-5", "UTC", datetime(2026, 11, 20, tzinfo=UTC), 50)
    assert longest_gap(workdays) == timedelta(days=3, hours=12)
    with pytest.raises(UsageError, match="never comes twice"):
        longest_gap(workdays[:1])


@pytest.mark.parametrize(
    ("gpus", "name"),
    [
        ("none", "cpu"),
        ("NVIDIA H200", "gpu-nvidia-h200"),
        ("NVIDIA A100-SXM4-80GB, NVIDIA A100-SXM4-80GB", "gpu-nvidia-a100-sxm4-80gb-x2"),
    ],
)
def test_a_pool_is_named_by_what_the_machine_has(gpus: str, name: str) -> None:
    assert pool_name(Settings.from_environment({"HOME": "/nowhere"}), gpus) == name
    own = Settings.from_environment({"HOME": "/nowhere", "NIGHTBENCH_POOL": "lab"})
    assert pool_name(own, gpus) == "lab"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--time-zone", "Europe/Berlinn"], "did you mean 'Europe/Berlin'?"),
        (["--night", "nightlyy"], "did you mean 'nightly'?"),
        (["--pool", "Big One"], "'Big One' is no name"),
        (["nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_deployed_is_a_sentence_and_starts_nothing(
    bench: Bench, arguments: list[str], sentence: str
) -> None:
    code, output = bench.run("deploy", *arguments)
    assert code == 2, output
    assert sentence in " ".join(output.split())
    assert not (bench.home / "services/prefect.json").exists()


# A real server.


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Works]:
    home = tmp_path_factory.mktemp("stage")
    (home / "own.yaml").write_text(OWN)
    with works(bench_at(home, shared_cache), str(home / "own.yaml")) as found:
        yield found


def deploy(stage: Works, *arguments: str, **environment: str) -> tuple[int, str]:
    bench = Bench(stage.bench.home, {**stage.bench.environment, **environment})
    return bench.run("deploy", str(stage.bench.home / "own.yaml"), *arguments)


def by_name(stage: Works, name: str) -> dict[str, Any]:
    return next(each for each in stage.ask("deployments") if each["name"] == name)


def test_done_again_it_changes_nothing(stage: Works) -> None:
    before = stage.ask("deployments"), stage.ask("automations")
    code, output = deploy(stage)
    assert code == 0, output
    assert NOTHING in output
    assert (stage.ask("deployments"), stage.ask("automations")) == before


def test_all_that_a_machine_needs_is_there(stage: Works) -> None:
    names = {each["name"] for each in stage.ask("deployments")}
    assert {"nightly-cpu", "smoke-cpu", "own-cpu", "confirm-cpu", "bisect-cpu", "maintenance-cpu"} <= names
    scheduled = {each["name"] for each in stage.ask("deployments") if each["schedules"]}
    assert scheduled == {"nightly-cpu", "maintenance-cpu"}
    (schedule,) = by_name(stage, "nightly-cpu")["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == (CRON, "UTC")
    automations = {each["name"] for each in stage.ask("automations")}
    assert automations == {
        f"nightbench cpu: {what}"
        for what in (
            "a night failed",
            "a night is late",
            "a night is missing",
            "confirm a regression",
            "a run fell silent",
        )
    }
    (limit,) = stage.ask("v2/concurrency_limits")
    assert (limit["name"].startswith("nightbench-"), limit["limit"]) == (True, 1)


def test_the_coming_nights_are_in_the_servers_book(stage: Works) -> None:
    """A schedule that only looks right begins no night: with SQLAlchemy 2.1 Prefect's scheduler wrote none down."""
    night = by_name(stage, "nightly-cpu")
    filters = {"deployments": {"id": {"any_": [night["id"]]}}, "sort": "EXPECTED_START_TIME_ASC"}
    first, second, *_ = wait_for(lambda: stage.ask("flow_runs", **filters), 120)
    begins = [datetime.fromisoformat(each["expected_start_time"]) for each in (first, second)]
    assert [f"{each:%H:%M}" for each in begins] == ["03:30", "03:30"]
    assert begins[1] - begins[0] == timedelta(days=1)
    assert first["state_type"] == "SCHEDULED"


@pytest.mark.parametrize(
    ("cron", "sentence"),
    [("often", "--cron: 'often' is no cron line"), ("0 0 30 2 *", "--cron: never comes twice")],
)
def test_a_time_that_never_comes_is_a_sentence_and_changes_nothing(stage: Works, cron: str, sentence: str) -> None:
    before = stage.ask("deployments")
    code, output = deploy(stage, "--cron", cron)
    assert code == 2, output
    assert sentence in " ".join(output.split())
    assert stage.ask("deployments") == before


def test_another_time_is_said_and_a_pause_of_somebodys_stays(stage: Works) -> None:
    night = by_name(stage, "nightly-cpu")
    (schedule,) = night["schedules"]
    off = {"active": False}
    address = f"{stage.api}/deployments/{night['id']}/schedules/{schedule['id']}"
    httpx.patch(address, json=off, timeout=30).raise_for_status()
    code, output = deploy(stage, "--cron", "0 4 * * *", "--time-zone", "Europe/Berlin")
    assert code == 0, output
    assert "deployment nightly/nightly-cpu: schedule changed" in output
    (schedule,) = by_name(stage, "nightly-cpu")["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 4 * * *", "Europe/Berlin")
    assert schedule["active"] is False
    code, output = deploy(stage)
    assert "deployment nightly/nightly-cpu: schedule changed" in output
    assert NOTHING in deploy(stage)[1]


def test_a_pool_takes_machines_of_one_kind_only(stage: Works) -> None:
    address = f"{stage.api}/work_pools/cpu"
    described = httpx.get(address, timeout=30).json()["description"]
    httpx.patch(address, json={"description": "Machines of one kind: Abacus x10"}, timeout=30).raise_for_status()
    try:
        for command in ("deploy", "worker"):
            code, output = stage.bench.run(command)
            assert code == 2, output
            assert "work pool 'cpu': machines of one kind: Abacus x10, and this is" in " ".join(output.split())
            assert "NIGHTBENCH_POOL=NAME" in output
    finally:
        httpx.patch(address, json={"description": described}, timeout=30).raise_for_status()


SAVE = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
CustomWebhookNotificationBlock(
    name="hook", url=sys.argv[1], method="POST", json_data={"subject": "{{subject}}", "body": "{{body}}"}
).save("hook")
"""


def test_a_failed_night_is_told_by_the_server_itself(stage: Works) -> None:
    environment = {**stage.bench.environment, "PREFECT_API_URL": stage.api}
    with web_receiver() as receiver:
        subprocess.run(
            [sys.executable, "-c", SAVE, f"http://{receiver.address}"], env=environment, check=True, timeout=300
        )
        code, output = deploy(stage, NIGHTBENCH_NOTIFY="custom-webhook/hook,custom-webhook/gone")
        assert code == 0, output
        assert "automation nightbench cpu: a night failed: changed" in output
        assert "custom-webhook/gone: there is no such block in Prefect" in output
        night = by_name(stage, "nightly-cpu")
        made = httpx.post(f"{stage.api}/deployments/{night['id']}/create_flow_run", json={}, timeout=30).json()
        failed = {"state": {"type": "FAILED", "message": "out of luck"}, "force": True}

        def told() -> list[dict[str, str]]:
            # An automation may be loaded a moment after it was made: what came before is not told.
            httpx.post(f"{stage.api}/flow_runs/{made['id']}/set_state", json=failed, timeout=30).raise_for_status()
            return [json.loads(body) for body in receiver.bodies]

        first = wait_for(told)[0]
    assert "a night on cpu" in first["subject"]
    assert "out of luck" in first["body"]
    assert made["id"] in first["body"]
