"""A run started by hand in Prefect's pages: a real server, a real worker, a real browser."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.flows.conftest import bench_at
from tests.flows.working import works

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
SCREENSHOTS = Path(os.environ.get("E2E_SCREENSHOTS", HERE.parents[1] / "out" / "e2e"))
SUITE = """
name: toy
description: One toy
rounds: 1
measure: {warmup_s: 0.2, duration_s: 0.5, timeout_s: 3, calibrate: false}
parity_batches: [1, 4]
sweeps:
  - models: [tiny_cnn]
    servers: [toy, {name: toy, options: {delay_ms: 1}}]
    loads: [{closed: 1}, {closed: 2}]
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter that has Playwright."""
    assert shutil.which("chromium"), "there is no browser here: apt-get install --no-install-recommends chromium"
    folder = tmp_path_factory.mktemp("driver")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--no-deps", "--requirement", REQUIREMENTS], check=True)
    return folder / "bin/python"


def test_a_run_with_changed_parameters_is_started_watched_and_read(driver: Path, tmp_path: Path) -> None:
    home, shots = tmp_path / "home", SCREENSHOTS
    home.mkdir()
    shots.mkdir(parents=True, exist_ok=True)
    for old in shots.glob("*.png"):
        old.unlink()
    bench = bench_at(home, tmp_path / "cache")
    suite = home / "toy.yaml"
    suite.write_text(SUITE)
    ours = psutil.Process()
    with works(bench, str(suite)) as stage, stage.worker():
        ui = stage.api.removesuffix("/api")
        environment = {**os.environ, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
        command = [driver, HERE / "drive.py", ui, "toy-cpu", shots]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, done.stderr
        seen = json.loads((shots / "seen.json").read_text())
        flow_run = stage.ended(seen["run"])
    assert flow_run["state_type"] == "COMPLETED"
    asked = flow_run["parameters"]
    assert (asked["suite"], asked["servers"], asked["rounds"]) == (str(suite), ["toy"], 2)
    assert "Seconds that each cell is measured; 0: as the suite says." in seen["form"]
    assert seen["refusal"].endswith("'rounds'. Failure reason: -3 is less than the minimum of 0")
    said = "\n".join(seen["artifacts"].values())
    for artifact in ("Progress: 100%", "tiny_cnn", "toy-custom-", "data:image/svg+xml", "report.html"):
        assert artifact in said
    left = [each for each in ours.children(recursive=True) if each.status() != psutil.STATUS_ZOMBIE]
    assert not left
