"""A home of its own for each test, a cache shared by all, and the toy server from a folder of the user's."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

TOYS = Path(__file__).parents[1] / "toys"

SUITE = """
name: toy
rounds: {rounds}
measure: {{warmup_s: 0.2, duration_s: {duration_s}, timeout_s: 3, {measure}}}
parity_batches: [1, 4]
sweeps:
  - models: [tiny_cnn]
    servers: [{servers}]
    loads: [{loads}]
"""


@dataclass(frozen=True)
class Bench:
    """The `nightbench` command in a world of its own."""

    home: Path
    environment: Mapping[str, str]
    prefix: tuple[str, ...] = ()
    """What stands before the command, to start it in yet another world."""

    def with_settings(self, **environment: str) -> "Bench":
        """The same world under other settings."""
        return replace(self, environment={**self.environment, **environment})

    def suite(
        self,
        servers: str = "toy",
        loads: str = "{closed: 2}",
        rounds: int = 1,
        duration_s: float = 0.5,
        measure: str = "calibrate: false",
    ) -> str:
        path = self.home / "suite.yaml"
        path.write_text(
            SUITE.format(servers=servers, loads=loads, rounds=rounds, duration_s=duration_s, measure=measure)
        )
        return str(path)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "flows.cli", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.home,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code, and all that was printed."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=180)
        return process.returncode, output


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def bench_at(home: Path, cache: Path) -> Bench:
    """A `Bench` with ``home`` for its state, untouched by the settings of whoever runs the tests."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("NIGHTBENCH_", "PREFECT_"))
    }
    environment |= {
        "NIGHTBENCH_HOME": str(home),
        "NIGHTBENCH_CACHE": str(cache),
        "NIGHTBENCH_SERVERS_PATH": str(TOYS),
        # The toys run in this environment: building one for each test would only be slow.
        "NIGHTBENCH_ENVIRONMENTS": "host",
        # Where the machine's measuring lock lies: tests need not wait for a night that runs beside them.
        "TMPDIR": str(home),
    }
    return Bench(home, environment)


@pytest.fixture
def bench(tmp_path: Path, shared_cache: Path) -> Iterator[Bench]:
    made = bench_at(tmp_path, shared_cache)
    try:
        yield made
    finally:
        made.run("down")


def started_by(bench: Bench) -> list[psutil.Process]:
    """Whatever the runs of this bench started that still lives."""
    runs = {path.stem for path in (bench.home / "spool").glob("*.jsonl")}
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("NIGHTBENCH_RUN") in runs and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found
