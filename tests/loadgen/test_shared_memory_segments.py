"""Segments of shared memory on the disk: private, and removed though their engine was killed."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from loadgen.job import Job
from loadgen.protocols.regions import SystemRegion, remove_orphans
from loadgen.run import run_job
from nightbench.server import Protocol
from tests.loadgen.fake_triton import SHARED_MEMORY, FakeTriton
from tests.loadgen.shm_talk import PROTOCOLS, X, Y, codec, endpoint, tidy_triton


@pytest.fixture
def server() -> Iterator[FakeTriton]:
    with tidy_triton() as triton:
        yield triton


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_segment_is_a_file_of_ours_alone(tmp_path: Path) -> None:
    region = SystemRegion(10_000, tmp_path)
    path = tmp_path / region.name
    assert path.stat().st_mode & 0o777 == 0o600
    region.write(100, b"abc")
    assert path.read_bytes()[98:105] == b"\0\0abc\0\0"
    held = region.read(100, 3)
    region.close()
    assert bytes(held) == b"abc"
    assert not list(tmp_path.iterdir())


def test_only_segments_of_the_dead_are_removed(tmp_path: Path) -> None:
    living = SystemRegion(10, tmp_path)
    dead = dead_pid()
    orphan, locked = (tmp_path / f"nightbench-{dead}-shm-{number}" for number in "ab")
    others = [tmp_path / "nightbench-x-shm-a", tmp_path / f"nightbench-{dead}-1-shm", tmp_path / "psm_1"]
    for path in (orphan, locked, *others):
        path.touch()
    with locked.open() as file:
        # Its owner lives where its process id cannot be seen from here: in another container.
        fcntl.flock(file, fcntl.LOCK_EX)
        assert remove_orphans(tmp_path) == [orphan.name]
    assert {path.name for path in tmp_path.iterdir()} == {living.name, locked.name, *(each.name for each in others)}
    living.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_killed_engine_shared_is_gone_with_its_run(
    server: FakeTriton, protocol: Protocol, job: Callable[..., Job]
) -> None:
    engine: list[int] = []
    whole = job(0, endpoint=endpoint(server, protocol), inputs=(X,), outputs=(Y,), duration_s=60.0)
    result = run_job(whole, on_start=engine.append, watch=lambda _: os.kill(engine[0], signal.SIGKILL))
    assert result.error == "the load engine was killed by SIGKILL"
    assert server.regions, "it had shared some"
    assert not list(SHARED_MEMORY.glob(f"nightbench-{engine[0]}-shm-*"))


def test_the_next_engine_removes_what_a_killed_one_left(server: FakeTriton) -> None:
    script = "from loadgen.protocols.regions import SystemRegion\nprint(SystemRegion(4096).name, flush=True)\ninput()\n"
    engine = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with engine:
        assert engine.stdout is not None
        name = engine.stdout.readline().strip()
        assert (SHARED_MEMORY / name).exists()
        engine.send_signal(signal.SIGKILL)
    made = codec(server, Protocol.KSERVE_HTTP_SHM)
    made.prepare({"x": np.ones((1, 3), "<f4")})
    assert not (SHARED_MEMORY / name).exists()
    assert f"-{name}" in server.asked, "a server that outlived it holds the memory until it is told"
    made.close()
