"""Fixed work in a process of its own."""

import os
import time

import pytest

from loadgen.canary import CANARIES, repeated, run_canaries
from nightbench.errors import NightbenchError


def test_both_canaries_are_timed_on_the_processors_given() -> None:
    found = run_canaries((min(os.sched_getaffinity(0)),))
    assert tuple(found) == CANARIES
    assert all(estimate.value > 0.0 for estimate in found.values())


def test_without_processors_they_run_wherever_the_system_likes() -> None:
    assert set(run_canaries(None)) == set(CANARIES)


def test_a_canary_that_cannot_run_says_why() -> None:
    with pytest.raises(NightbenchError, match="the canary ended with code 1: OSError"):
        run_canaries((100_000,))


def test_a_canary_that_says_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/echo")
    with pytest.raises(NightbenchError, match="did not answer"):
        run_canaries(None)


def test_work_is_repeated_often_enough_for_a_median_with_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the repetitions takes 1 ms of a clock that only the work moves, but for one that was disturbed."""
    clock_ns, calls = 0, 0

    def work() -> None:
        nonlocal clock_ns, calls
        calls += 1
        clock_ns += 50_000_000 if calls == 7 else 1_000_000

    monkeypatch.setattr(time, "monotonic_ns", lambda: clock_ns)
    found = repeated(work, seconds=0.1)
    assert found.value == 1e6
    assert (found.low, found.high) == (1e6, 1e6)
    calls = 100
    slow = repeated(work, seconds=0.0)
    assert (calls, slow.value) == (114, 1e6), "three to warm up, eleven however slow"
