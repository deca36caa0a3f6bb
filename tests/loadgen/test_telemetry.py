"""Telemetry: exact where it can be, absent where it must be, and never in the way."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
import pytest

from loadgen.sources.processes import ProcessTree
from loadgen.telemetry import Telemetry
from nightbench.errors import UsageError
from nightbench.figures import Series

# Answers every line with one, after burning a tenth of a second of processor time.
BURNER = """
import sys, time
print("up", flush=True)
for line in sys.stdin:
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    print("done", flush=True)
"""
# Starts a burner as its child and passes its own streams on to it.
PARENT = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {BURNER!r}]))"

Program = subprocess.Popen[str]
Start = Callable[[str], Program]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python program and wait until it says that it is up."""
    started: list[Program] = []

    def run(source: str) -> Program:
        program = subprocess.Popen(
            [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(program)
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n"
        return program

    yield run
    for program in started:
        kill(program)


def burn(program: Program) -> None:
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write("burn\n")
    program.stdin.flush()
    assert program.stdout.readline() == "done\n"


def kill(program: Program) -> None:
    """End a program and its children, and close its pipes."""
    with suppress(psutil.Error):
        for child in psutil.Process(program.pid).children(recursive=True):
            child.kill()
    program.kill()
    program.communicate()


def wait_for(series: Callable[[], tuple[Series, ...]], *wanted: tuple[str, str]) -> dict[tuple[str, str], Series]:
    """The series by source and metric, once all the wanted ones are there."""
    deadline = time.monotonic() + 60
    while True:
        found = {(one.source, one.metric): one for one in series()}
        if found.keys() >= set(wanted):
            return found
        assert time.monotonic() < deadline, f"{wanted} never came, only {sorted(found)}"
        time.sleep(0.01)


# -- processes


def test_processor_time_is_exact(start: Start) -> None:
    program = start(BURNER)
    tree, process = ProcessTree(program.pid), psutil.Process(program.pid)
    tree.read()
    before = process.cpu_times()
    used_s = 0.0
    for _ in range(3):
        burn(program)
        usage = tree.read()
        assert usage is not None
        used_s += usage.cpu_s
    after = process.cpu_times()
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert used_s == pytest.approx(after.user + after.system - before.user - before.system, abs=2 * tick_s)
    assert used_s >= 0.3 - 2 * tick_s


def test_the_whole_tree_counts(start: Start) -> None:
    program = start(PARENT)
    tree = ProcessTree(program.pid)
    tree.read()
    burn(program)
    usage = tree.read()
    assert usage is not None
    assert usage.cpu_s >= 0.08
    assert usage.threads == 2
    assert usage.rss_bytes > psutil.Process(program.pid).memory_info().rss


def test_children_that_come_later_are_found(start: Start) -> None:
    spawner = f"""
import subprocess, sys
print("up", flush=True)
sys.stdin.readline()
sys.exit(subprocess.call([sys.executable, "-c", {BURNER!r}]))
"""
    program = start(spawner)
    tree = ProcessTree(program.pid, rescan_every=2)
    first = tree.read()
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write("go\n")
    program.stdin.flush()
    assert program.stdout.readline() == "up\n"
    usages = [first, tree.read(), tree.read()]
    assert [usage.threads for usage in usages if usage is not None] == [1, 1, 2]


def test_a_tree_that_dies_has_no_usage(start: Start) -> None:
    program = start(PARENT)
    tree = ProcessTree(program.pid)
    assert tree.read() is not None
    kill(program)
    deadline = time.monotonic() + 60
    # A killed child takes the kernel a moment longer than its streams.
    while tree.read() is not None:
        assert time.monotonic() < deadline


def test_a_process_that_descends_from_two_roots_counts_once(start: Start) -> None:
    program = start(PARENT)
    (child,) = psutil.Process(program.pid).children()
    tree = ProcessTree(program.pid, child.pid)
    usage = tree.read()
    assert usage is not None
    assert usage.threads == 2
    assert tree.pids == {program.pid, child.pid}


def test_a_root_that_is_added_counts_from_the_next_reading(start: Start) -> None:
    tree = ProcessTree()
    assert tree.read() is None
    first, second = start(BURNER), start(BURNER)
    tree.add(first.pid)
    usage = tree.read()
    assert usage is not None
    assert usage.cpu_s == 0.0
    tree.add(second.pid)
    assert tree.read() is not None
    assert tree.pids == {first.pid, second.pid}
    kill(first)
    assert tree.read() is not None
    assert tree.pids == {second.pid}


def test_children_that_outlive_their_parent_still_count(start: Start) -> None:
    program = start(PARENT)
    (child,) = psutil.Process(program.pid).children()
    try:
        tree = ProcessTree(program.pid, rescan_every=1)
        tree.read()
        program.kill()
        program.wait()
        for _ in range(3):
            assert tree.read() is not None
        assert tree.pids == {child.pid}
    finally:
        child.kill()


@pytest.mark.parametrize("pid", [-1, 2**22 + 1, 2**40])
def test_a_process_that_never_was_has_no_usage(pid: int) -> None:
    assert ProcessTree(pid).read() is None


def test_a_zombie_has_no_usage() -> None:
    program = subprocess.Popen([sys.executable, "-c", ""])
    try:
        os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
        assert ProcessTree(program.pid).read() is None
    finally:
        program.wait()


# -- the sampler


def test_it_samples_server_client_and_everything_else(start: Start) -> None:
    server, client, began = start(BURNER), start(BURNER), time.monotonic_ns()
    with Telemetry(server.pid, None, interval_s=0.01) as telemetry:
        telemetry.add_client(client.pid)
        burn(server)
        found = wait_for(
            lambda: telemetry.series(began, time.monotonic_ns()),
            ("server", "cpu_percent"),
            ("server", "rss_bytes"),
            ("server", "threads"),
            ("client", "cpu_percent"),
            ("machine", "foreign_cpu_percent"),
        )
    window_ms = (time.monotonic_ns() - began) / 1e6
    for one in found.values():
        assert len(one.offset_ms) == len(one.values) > 0
        assert list(one.offset_ms) == sorted(one.offset_ms)
        assert 0 <= one.offset_ms[0] <= one.offset_ms[-1] <= window_ms + 1
    assert set(found["server", "threads"].values) == {1.0}
    assert max(found["server", "cpu_percent"].values) > 0
    assert min(found["machine", "foreign_cpu_percent"].values) >= 0


def test_foreign_load_is_known_only_once_the_client_is(start: Start) -> None:
    server, client, began = start(BURNER), start(BURNER), time.monotonic_ns()
    with Telemetry(server.pid, None, interval_s=0.01) as telemetry:

        def series() -> tuple[Series, ...]:
            return telemetry.series(began, time.monotonic_ns())

        found = wait_for(series, ("server", "cpu_percent"))
        assert {source for source, _ in found} == {"server"}
        telemetry.add_client(client.pid)
        wait_for(series, ("machine", "foreign_cpu_percent"), ("client", "rss_bytes"))


def test_all_clients_count_as_one_and_none_of_them_as_foreign(start: Start) -> None:
    clients, began = [start(BURNER), start(PARENT)], time.monotonic_ns()
    with Telemetry(None, None, interval_s=0.01) as telemetry:
        for client in clients:
            telemetry.add_client(client.pid)
        telemetry.add_client(2**22 + 1)
        wait_for(lambda: last(telemetry.series(began, time.monotonic_ns()), threads=3.0), ("client", "threads"))


def last(found: tuple[Series, ...], threads: float) -> tuple[Series, ...]:
    """The series, once so many threads are seen."""
    return found if any(one.metric == "threads" and one.values[-1] == threads for one in found) else ()


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="an interval of 0 s"):
        Telemetry(None, None, interval_s=0.0)


def test_a_window_holds_its_own_samples_only(start: Start) -> None:
    program = start(BURNER)
    with Telemetry(program.pid, None, interval_s=0.01) as telemetry:
        wait_for(lambda: telemetry.series(0, time.monotonic_ns()), ("server", "threads"))
    whole = next(one for one in telemetry.series(0, 2**63) if one.metric == "threads")
    first_ns, second_ns = whole.offset_ms[0] * 1_000_000, 1_000_000_000
    early = telemetry.series(first_ns - 5 * second_ns, first_ns + second_ns // 1000)
    assert next(one for one in early if one.metric == "threads").offset_ms in {(5000,), (5001,)}
    assert telemetry.series(first_ns - 5 * second_ns, first_ns - second_ns) == ()


def test_a_server_that_dies_ends_its_series_and_nothing_else(start: Start) -> None:
    server, client, began = start(BURNER), start(BURNER), time.monotonic_ns()

    def samples(metric: tuple[str, str]) -> int:
        found = wait_for(lambda: telemetry.series(began, time.monotonic_ns()), metric)
        return len(found[metric].values)

    with Telemetry(server.pid, None, interval_s=0.01) as telemetry:
        telemetry.add_client(client.pid)
        samples(("server", "threads"))
        kill(server)
        died_with = samples(("machine", "foreign_cpu_percent"))
        while samples(("machine", "foreign_cpu_percent")) < died_with + 10:
            time.sleep(0.01)
    assert samples(("server", "threads")) < samples(("machine", "foreign_cpu_percent"))


def test_growing_memory_has_a_slope(start: Start) -> None:
    grower = """
import sys
print("up", flush=True)
held = []
for line in sys.stdin:
    held.append(b"x" * 2_000_000)
    print("done", flush=True)
"""
    program, began = start(grower), time.monotonic_ns()
    with Telemetry(program.pid, None, interval_s=0.01) as telemetry:
        while len(values := rss_of(telemetry, began)) < 30:
            if len(values) % 3 == 0:
                burn(program)
    found = {one.metric: one for one in telemetry.series(began, time.monotonic_ns())}
    (slope,) = found["rss_slope_bytes_per_s"].values
    assert slope > 0.0


def rss_of(telemetry: Telemetry, began: int) -> tuple[float, ...]:
    series = telemetry.series(began, time.monotonic_ns())
    return next((one.values for one in series if one.metric == "rss_bytes"), ())


def test_nothing_to_watch_is_nothing_found() -> None:
    with Telemetry(None, None, interval_s=0.01) as telemetry:
        pass
    assert [one for one in telemetry.series(0, 2**63) if not one.source.startswith("gpu")] == []
