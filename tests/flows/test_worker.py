"""Nights by deployments and a worker, in a real Prefect server and a real Postgres; and what may happen to them."""

import json
import signal
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from db import embedded, spool
from db.store import Store
from nightbench.record import MeasurementRecord, RunFinished
from tests.flows.conftest import Bench, bench_at
from tests.flows.working import Works, tree, wait_for, works

SUITE = """
name: {name}
rounds: 1
measure: {{warmup_s: 0.2, duration_s: {duration_s}, timeout_s: 3, calibrate: false}}
parity_batches: [1, 4]
sweeps:
  - models: [tiny_cnn]
    servers: [toy]
    loads: [{loads}]
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Works]:
    home = tmp_path_factory.mktemp("stage")
    bench = bench_at(home, shared_cache)
    files = {"quick": SUITE.format(name="quick", duration_s=0.5, loads="{closed: 2}")}
    files["slow"] = SUITE.format(name="slow", duration_s=4.0, loads="{closed: 1}, {closed: 2}, {closed: 3}")
    for name, text in files.items():
        (home / f"{name}.yaml").write_text(text)
    with works(bench, *(str(home / f"{name}.yaml") for name in files)) as found:
        yield found


def measured(bench: Bench, run_id: str) -> list[MeasurementRecord]:
    with Store(embedded.start(bench.home)) as store:
        return [each for each in store.records(run_id) if isinstance(each, MeasurementRecord)]


def deployments_of(stage: Works, *flow_run_ids: str) -> list[tuple[datetime, datetime]]:
    """When each server of these runs was up, in order."""
    found = stage.ask("flow_runs", flow_runs={"parent_flow_run_id": {"any_": list(flow_run_ids)}})
    times = [(each["start_time"], each["end_time"]) for each in found]
    return sorted((datetime.fromisoformat(begun), datetime.fromisoformat(over)) for begun, over in times)


def test_runs_that_meet_wait_for_one_another(stage: Works) -> None:
    with stage.worker():
        first, second = stage.start("quick"), stage.start("quick", rounds=2)
        # And one without a worker, by hand.
        with stage.bench.start("run", str(stage.bench.home / "quick.yaml")) as by_hand:
            output, _ = by_hand.communicate()
        assert by_hand.returncode == 0, output
        assert stage.ended(first)["state_type"] == "COMPLETED"
        assert stage.ended(second)["state_type"] == "COMPLETED"
    third = output.rpartition("/runs/flow-run/")[2][:36]
    spans = deployments_of(stage, first, second, third)
    assert len(spans) == 4
    assert all(over <= begun for (_, over), (begun, _) in pairwise(spans))


def test_a_wrong_parameter_is_refused_by_a_sentence_and_nothing_is_begun(stage: Works) -> None:
    # The schedule makes runs of its own meanwhile.
    ours = {"name": {"any_": ["quick-cpu"]}}
    before = len(stage.ask("flow_runs", deployments=ours))
    for parameters, sentence in [
        ({"rounds": -3}, "rounds: -3 is less than the minimum of 0"),
        ({"duration_s": 9000}, "duration_s: 9000 is greater than the maximum of 3600"),
        ({"batches": [0]}, "batches[0]: 0 is less than the minimum of 1"),
        ({"servers": ["toi"]}, "servers[0]: 'toi' is not one of"),
        ({"protocol": "raw-http"}, "parameters: Additional properties are not allowed ('protocol' was unexpected)"),
        ({"suite": "/etc/passwd"}, "suite: '/etc/passwd' is not one of"),
    ]:
        code, said = stage.tried("quick", **parameters)
        assert code == 2, said
        assert said.startswith(sentence)
        assert "Traceback" not in said
    code, said = stage.tried("quikc")
    assert (code, said) == (2, "suite 'quikc': has no deployment; did you mean 'quick'?")
    assert len(stage.ask("flow_runs", deployments=ours)) == before


def test_what_only_the_run_can_know_to_be_wrong_fails_it_by_a_sentence(stage: Works) -> None:
    with stage.worker():
        over = stage.ended(stage.start("quick", protocols=["kserve-grpc"]))
    assert over["state_type"] == "FAILED"
    assert over["state"]["message"].startswith("protocols: none of toy can do kserve-grpc")


def test_maintenance_and_re_runs_are_runs_like_others(stage: Works) -> None:
    with stage.worker():
        maintenance = stage.start_deployment("maintenance-cpu")
        confirm, bisect = (stage.start_deployment(f"{name}-cpu", alert=9) for name in ("confirm", "bisect"))
        assert stage.ended(maintenance)["state_type"] == "COMPLETED"
        for each in (confirm, bisect):
            over = stage.ended(each)
            assert over["state_type"] == "FAILED"
            assert over["state"]["message"].startswith("alert 9")
    (told,) = stage.ask("artifacts", flow_runs={"id": {"any_": [maintenance]}})
    assert "spool files" in told["data"]


def test_a_worker_and_its_night_killed_are_over_at_the_next_start_and_the_night_is_resumed(stage: Works) -> None:
    with stage.worker() as worker:
        flow_run = stage.start("slow")
        run_id = stage.measuring(flow_run)
        servers = {each.pid for each in stage.servers(run_id)}
        for each in tree(worker.pid):
            if each.pid not in servers:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
    assert stage.run(flow_run)["state_type"] == "RUNNING"
    with stage.worker():
        over = stage.ended(flow_run)
        assert over["state_type"] == "CRASHED"
        assert "was killed" in over["state"]["message"]
        assert not stage.servers(run_id)
        inside = stage.ask("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [flow_run]}})
        assert {each["state_type"] for each in inside} == {"CRASHED"}
        assert not stage.ask("task_runs", task_runs={"state": {"type": {"any_": ["RUNNING", "PENDING"]}}})
        assert stage.ended(stage.start("slow", resume=run_id))["state_type"] == "COMPLETED"
    cells = [each.cell_id for each in measured(stage.bench, run_id)]
    assert len(cells) == len(set(cells)) == 3


def finished(stage: Works, run_id: str) -> list[str]:
    found = spool.read(stage.bench.home / "spool" / f"{run_id}.jsonl").records
    return [each.status for each in found if isinstance(each, RunFinished)]


def test_a_night_whose_worker_was_told_to_stop_is_over_at_the_next_start_and_is_resumed(stage: Works) -> None:
    """Prefect's worker gives its runs no time to end their servers and to record that, so the next start does."""
    with stage.worker() as worker:
        flow_run = stage.start("slow")
        run_id = stage.measuring(flow_run)
        worker.send_signal(signal.SIGTERM)
        worker.wait(timeout=300)
    with stage.worker():
        assert stage.ended(flow_run)["state_type"] in {"CRASHED", "CANCELLED"}
        wait_for(lambda: not stage.servers(run_id), 60)
        assert stage.ended(stage.start("slow", resume=run_id))["state_type"] == "COMPLETED"
    cells = [each.cell_id for each in measured(stage.bench, run_id)]
    assert len(cells) == len(set(cells)) == 3


def test_cancelling_in_prefect_takes_the_night_down_and_the_next_goes_on(stage: Works) -> None:
    with stage.worker():
        flow_run = stage.start("slow")
        run_id = stage.measuring(flow_run)
        cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": True}
        httpx.post(f"{stage.api}/flow_runs/{flow_run}/set_state", json=cancelling, timeout=30).raise_for_status()
        assert stage.ended(flow_run)["state_type"] == "CANCELLED"
        wait_for(lambda: not stage.servers(run_id))
        assert finished(stage, run_id) == ["cancelled"]
        assert stage.ended(stage.start("quick"))["state_type"] == "COMPLETED"


def test_a_prefect_server_that_restarts_in_mid_night_costs_nothing(stage: Works) -> None:
    def server() -> dict[str, Any]:
        found: dict[str, Any] = json.loads((stage.bench.home / "services/prefect.json").read_text())
        return found

    with stage.worker():
        flow_run = stage.start("slow")
        run_id = stage.measuring(flow_run)
        gone = tree(server()["pid"])
        for each in gone:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(gone, timeout=30)
        # On the port that everybody knows.
        again = Bench(
            stage.bench.home, {**stage.bench.environment, "NIGHTBENCH_PREFECT_PORT": stage.api.split(":")[2][:-4]}
        )
        code, output = again.run("up")
        assert code == 0, output
        assert stage.ended(flow_run)["state_type"] == "COMPLETED"
        # Nor does its slot stay taken.
        assert stage.ended(stage.start("quick"))["state_type"] == "COMPLETED"
    cells = [each.cell_id for each in measured(stage.bench, run_id)]
    assert len(cells) == len(set(cells)) == 3
