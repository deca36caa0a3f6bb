"""That Prefect does by itself what `flows.automations` asks of it: each automation is seen to fire on a real server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.flows.conftest import bench_at
from tests.flows.receivers import WebReceiver, web_receiver
from tests.flows.working import Works, wait_for, works

OWN = """
name: own
sweeps: [{models: [tiny_cnn], servers: [toy], loads: [closed: 1]}]
"""
SAVE = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
CustomWebhookNotificationBlock(
    name="hook", url=sys.argv[1], method="POST", json_data={"subject": "{{subject}}", "body": "{{body}}"}
).save("hook")
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Works]:
    """Everything but a worker: nobody takes what is due."""
    home = tmp_path_factory.mktemp("stage")
    (home / "own.yaml").write_text(OWN)
    with works(bench_at(home, shared_cache), str(home / "own.yaml")) as found:
        yield found


@pytest.fixture(scope="module")
def receiver(stage: Works) -> Iterator[WebReceiver]:
    """Where people are told."""
    with web_receiver() as there:
        environment = {**stage.bench.environment, "PREFECT_API_URL": stage.api}
        subprocess.run(
            [sys.executable, "-c", SAVE, f"http://{there.address}"], env=environment, check=True, timeout=300
        )
        told = stage.bench.with_settings(NIGHTBENCH_NOTIFY="custom-webhook/hook")
        code, output = told.run("deploy", str(stage.bench.home / "own.yaml"))
        assert code == 0, output
        yield there


@contextmanager
def impatient(stage: Works, name: str) -> Iterator[None]:
    """Within the block, an automation waits for seconds where it would for minutes or days."""
    (there,) = (each for each in stage.ask("automations") if each["name"].endswith(name))
    address = f"{stage.api}/automations/{there['id']}"
    asked = {key: value for key, value in there.items() if key not in {"id", "created", "updated"}}
    hurried = {**asked, "trigger": {**asked["trigger"], "within": 10.0}}
    httpx.put(address, json=hurried, timeout=30).raise_for_status()
    try:
        yield
    finally:
        httpx.put(address, json=asked, timeout=30).raise_for_status()


def deployment(stage: Works, name: str) -> dict[str, Any]:
    return next(each for each in stage.ask("deployments") if each["name"] == name)


def begun(stage: Works, name: str, **state: object) -> str:
    """A run of a deployment in this state, which nobody is at."""
    address = f"{stage.api}/deployments/{deployment(stage, name)['id']}/create_flow_run"
    made = httpx.post(address, json={"state": state} if state else {}, timeout=30)
    made.raise_for_status()
    return str(made.json()["id"])


def set_state(stage: Works, flow_run: str, **state: object) -> None:
    address = f"{stage.api}/flow_runs/{flow_run}/set_state"
    httpx.post(address, json={"state": state, "force": True}, timeout=30).raise_for_status()


def happens(
    stage: Works, event: str, resource: dict[str, str], related: list[dict[str, str]], **payload: object
) -> None:
    """Something happens now, as a client of Prefect's tells its server."""
    said = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": event,
        "resource": resource,
        "related": related,
        "payload": payload,
    }
    httpx.post(f"{stage.api}/events", json=[said], timeout=30).raise_for_status()


def subjects(receiver: WebReceiver) -> dict[str, str]:
    return {told["subject"]: told["body"] for told in map(json.loads, receiver.bodies)}


def test_a_night_that_nobody_begins_is_told(stage: Works, receiver: WebReceiver) -> None:
    with impatient(stage, "a night is late"):
        due = datetime.now(UTC) - timedelta(minutes=1)
        flow_run = begun(stage, "nightly-cpu", type="SCHEDULED", state_details={"scheduled_time": due.isoformat()})
        found = wait_for(lambda: subjects(receiver).get("nightbench: a night on cpu is late"), 180)
    assert flow_run in found
    set_state(stage, flow_run, type="CANCELLED")


def test_nights_that_never_complete_are_told(stage: Works, receiver: WebReceiver) -> None:
    with impatient(stage, "a night is missing"):
        wait_for(lambda: "nightbench: nights on cpu are missing" in subjects(receiver), 180)


def test_a_run_whose_machine_fell_silent_is_over(stage: Works) -> None:
    flow_run = begun(stage, "own-cpu")
    set_state(stage, flow_run, type="RUNNING")
    of_the_run = {"prefect.resource.id": f"prefect.flow-run.{flow_run}", "prefect.resource.name": "own"}
    related = [
        {"prefect.resource.id": "prefect.flow.1", "prefect.resource.role": "flow", "prefect.resource.name": "nightly"},
        {
            "prefect.resource.id": "prefect.work-pool.1",
            "prefect.resource.role": "work-pool",
            "prefect.resource.name": "cpu",
        },
    ]
    with impatient(stage, "a run fell silent"):

        def crashed() -> bool:
            return bool(stage.run(flow_run)["state_type"] == "CRASHED")

        happens(stage, "prefect.flow-run.heartbeat", of_the_run, related)
        wait_for(crashed, 180)
    assert "Nothing was heard of it" in stage.run(flow_run)["state"]["message"]


def test_a_regression_that_no_re_run_could_decide_is_run_again(stage: Works) -> None:
    def asked_for() -> list[dict[str, Any]]:
        confirm = deployment(stage, "confirm-cpu")["id"]
        return stage.ask("flow_runs", deployments={"id": {"any_": [confirm]}})

    pool = {
        "prefect.resource.id": "prefect.work-pool.1",
        "prefect.resource.role": "work-pool",
        "prefect.resource.name": "cpu",
    }
    resource = {"prefect.resource.id": "nightbench.alert.17", "prefect.resource.name": "triton is 9 % slower"}
    happens(stage, "nightbench.regression.unconfirmed", resource, [pool], alert=17)
    (run,) = wait_for(asked_for, 180)
    # A number, as the flow asks for, and no text.
    assert run["parameters"]["alert"] == 17
    set_state(stage, str(run["id"]), type="CANCELLED")
