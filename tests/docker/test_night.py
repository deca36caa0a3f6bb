"""A night over containers: every server in one of its own, swept, stored and reported like any other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from db import spool
from nightbench.record import DeploymentRecord, MeasurementRecord, MissingRecord, RunFinished
from tests.docker.engine import Running

SERVERS = ("fastapi", "flask", "onnxruntime", "triton")
SUITE = f"""
name: contained
rounds: 2
memory_gib: 4
launcher: docker
measure: {{warmup_s: 0.3, duration_s: 1.5, timeout_s: 5}}
parity_batches: [1]
sweeps:
  - models: [tiny_cnn]
    servers: [{", ".join(SERVERS)}]
    batches: [1, 4]
    loads: [closed: 1, closed: 4]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "contained.yaml").write_text(SUITE)
    return tmp_path


def test_a_sweep_over_containers_is_stored_and_leaves_none(docker_engine: Running, home: Path) -> None:
    environment = {**os.environ, "NIGHTBENCH_HOME": str(home), "NIGHTBENCH_CACHE": str(home / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", str(home / "contained.yaml"), "--offline"],
        env=environment, capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (home / "spool").glob("*.jsonl")
    records = spool.read(path).records
    starts = [each for each in records if isinstance(each, DeploymentRecord)]
    assert {each.server for each in starts} == set(SERVERS)
    assert {each.launcher for each in starts} == {"docker"}
    assert all(each.failure is None and each.image_digest.startswith("sha256:") for each in starts)
    cells = [each for each in records if isinstance(each, MeasurementRecord)]
    assert len(cells) == len(SERVERS) * 2 * 2 * 2
    assert {each.case.launcher for each in cells} == {"docker"}
    assert not any(isinstance(each, MissingRecord) for each in records)
    (ended,) = (each for each in records if isinstance(each, RunFinished))
    assert ended.status == "completed"
    assert docker_engine.containers() == []
    assert "<html" in (home / "runs" / path.stem / "report.html").read_text()
