"""What befalls a machine in mid-night: its disk fills, its clock jumps, somebody stops the run in any of its stages."""

import os
import re
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from db import spool
from flows.offline import run_offline
from flows.registry import load_catalog
from nightbench.record import MeasurementRecord, MissingRecord, Record, RunFinished, RunStarted
from nightbench.settings import Settings
from tasks.progress import Silent
from tasks.request import fresh
from tasks.session import Cancelled
from tests.flows.conftest import Bench, started_by

CLOCK = Path(__file__).with_name("jumping_clock.c")

STAGES = {
    "environment": r"environment of toy",
    "export": r"exporting tiny_cnn",
    "calibration": r"calibrating the client: raw",
    "canary": r"round 1: how fast",
    "deployment": r"round 1: starting toy",
    "parity": r"round 1: checking the answers",
    "timing": r"round 1: toy tiny_cnn .*closed c",
    "second round": r"round 2: starting toy",
    "quality gate": r"quality gate",
}
"""What a run says as it enters a stage."""


def records(bench: Bench) -> list[Record]:
    """Of the one run of this bench, none of whose lines may be damaged."""
    (path,) = (bench.home / "spool").glob("*.jsonl")
    contents = spool.read(path)
    assert contents.skipped == 0
    return list(contents.records)


def measured(bench: Bench) -> list[str]:
    return [each.cell_id for each in records(bench) if isinstance(each, MeasurementRecord)]


def followed(process: "subprocess.Popen[str]", on_line: Callable[[str], object]) -> str:
    """All that a command says until it has ended, each line also told to ``on_line`` as it comes."""
    said = []
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            on_line(line)
    return "".join(said)


def nothing_is_left(bench: Bench) -> None:
    """A process that was killed, or that Ctrl-C met as it was begun, is gone a moment later."""
    deadline = time.monotonic() + 60
    while left := started_by(bench):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def resumed_to_the_end(bench: Bench, planned: int) -> None:
    """Do the rest, and see that nothing was lost and nothing done twice."""
    before = measured(bench)
    code, output = bench.run("run", "--resume", "--offline")
    assert code == 0, output
    after = measured(bench)
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == planned
    assert not [each for each in records(bench) if isinstance(each, MissingRecord)]
    assert [each.status for each in records(bench) if isinstance(each, RunFinished)][-1] == "completed"


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_interrupted_in_any_stage_leaves_nothing_and_is_resumed(bench: Bench, stage: str) -> None:
    suite = bench.suite(rounds=2, measure="calibrate: true")
    process = bench.start("run", suite, "--offline")

    def interrupt(line: str) -> None:
        if re.match(STAGES[stage], line):
            process.send_signal(signal.SIGINT)

    said = followed(process, interrupt)
    assert process.returncode == 130, said
    assert "nightbench run --resume" in said.splitlines()[-1]
    assert "Traceback" not in said
    nothing_is_left(bench)
    assert not list(bench.home.glob("nightbench-[0-9]*")), "a folder for engines and probes is left"
    assert [each.status for each in records(bench) if isinstance(each, RunFinished)] == ["cancelled"]
    resumed_to_the_end(bench, planned=2)


class Entering(Silent):
    """Turns true once the run says that it enters a stage."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self.now = False

    def doing(self, what: str) -> None:
        self.now = self.now or re.match(STAGES[self._stage], what) is not None


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "quality gate"])
def test_a_run_cancelled_in_any_stage_ends_as_cancelled(
    bench: Bench, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the Cancel of Prefect's pages, which the night looks up and no signal tells."""
    for name, value in bench.environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    catalog = load_catalog(settings)
    request = fresh(Path(bench.suite(rounds=2, measure="calibrate: true")), catalog)
    entering = Entering(stage)
    with pytest.raises(Cancelled, match=f"nightbench run --resume {request.run_id}"):
        run_offline(request, settings, catalog, entering, should_stop=lambda: entering.now)
    nothing_is_left(bench)
    assert [each.status for each in records(bench) if isinstance(each, RunFinished)] == ["cancelled"]
    resumed_to_the_end(bench, planned=2)


@contextmanager
def small_disk(home: Path) -> Iterator[tuple[Path, list[str]]]:
    """A real file system of 64 MiB over ``home``, for whoever is started behind the words given, and its path here."""
    mapped, joined = (
        ([], []) if os.geteuid() == 0 else (["--user", "--map-root-user"], ["--user", "--preserve-credentials"])
    )
    script = 'mount -t tmpfs -o size=64m none "$0" && echo mounted && exec sleep 600'
    command = ["unshare", *mapped, "--mount", "sh", "-c", script, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "mounted\n"
            yield Path(f"/proc/{holder.pid}/root{home}"), ["nsenter", f"--target={holder.pid}", "--mount", *joined]
        finally:
            holder.kill()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            return


def test_a_disk_that_fills_in_mid_night_ends_it_by_a_sentence_and_loses_nothing(bench: Bench) -> None:
    suite = Path(bench.suite(loads="{closed: 1}, {closed: 2}, {closed: 3}", duration_s=1.0)).read_text()
    with small_disk(bench.home) as (seen, enter):
        (seen / "suite.yaml").write_text(suite)
        there = replace(bench, home=seen, prefix=tuple(enter))
        process = there.start("run", str(bench.home / "suite.yaml"), "--offline")
        timed = iter([False, True])

        def fill_in_the_second_cell(line: str) -> None:
            if re.match(STAGES["timing"], line) and next(timed, False):
                fill(seen / "filler")

        said = followed(process, fill_in_the_second_cell)
        assert process.returncode == 1, said
        remedy = (
            r"(a disk that is full|No space left on device); make room, and `nightbench run --resume.*` does the rest"
        )
        assert re.search(remedy, said.splitlines()[-1]), said
        assert "Traceback" not in said
        nothing_is_left(there)
        kept = measured(there)
        assert kept
        (seen / "filler").unlink()
        resumed_to_the_end(there, planned=3)
        assert kept[0] in measured(there)


@pytest.fixture
def clock(bench: Bench) -> tuple[Bench, Callable[[timedelta], None]]:
    """The bench under a wall clock that can be set, and what sets it."""
    library, place = bench.home / "jumping_clock.so", bench.home / "clock"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, CLOCK], check=True)
    place.write_bytes(struct.pack("=q", 0))

    def set_by(jump: timedelta) -> None:
        with place.open("r+b") as file:
            file.write(struct.pack("=q", int(jump.total_seconds())))

    return replace(
        bench, environment={**bench.environment, "LD_PRELOAD": str(library), "JUMPING_CLOCK": str(place)}
    ), set_by


@pytest.mark.parametrize("jump", [timedelta(hours=-3), timedelta(days=2)], ids=["back", "ahead"])
def test_a_clock_that_is_set_in_mid_night_changes_no_figure(
    clock: tuple[Bench, Callable[[timedelta], None]], jump: timedelta
) -> None:
    bench, set_by = clock
    process = bench.start("run", bench.suite(loads="{closed: 1}, {closed: 2}", rounds=2), "--offline")
    said = followed(process, lambda line: re.match(r"round 1: toy .*closed c2", line) and set_by(jump))
    assert process.returncode == 0, said
    found = records(bench)
    cells = [each for each in found if isinstance(each, MeasurementRecord)]
    assert len(cells) == 4
    for cell in cells:
        assert cell.failed == 0
        assert all(0 < figure.value < 1e9 for figure in cell.latency_ns.values())
    (begun,) = (each for each in found if isinstance(each, RunStarted))
    (finished,) = (each for each in found if isinstance(each, RunFinished))
    assert abs(finished.finished_at - begun.started_at - jump) < timedelta(minutes=5), "the clock did not jump"
    assert 0 < finished.took_ns < 300e9
    for command in ("show", "report"):
        code, output = bench.run(command, begun.run_id)
        assert code == 0, output
        assert "Traceback" not in output
