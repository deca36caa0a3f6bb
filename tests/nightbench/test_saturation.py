"""Over-saturation is called for servers that cannot keep up, soon, and for no others. Seeded simulations."""

import heapq
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.alarms import SERVERS, Queue, alarm_s
from nightbench.load import Arrival, ClosedLoop, OpenLoop, Trace
from nightbench.saturation import over_saturated, steady

RUNS = 25

Times = NDArray[np.float64]


@pytest.mark.parametrize("queue", [each for each in SERVERS if each.keeps_up], ids=lambda queue: queue.name)
@pytest.mark.parametrize("rate_rps", [100.0, 1000.0])
def test_a_server_that_keeps_up_is_left_alone(queue: Queue, rate_rps: float) -> None:
    alarms = [alarm_s(queue, rate_rps, seed) for seed in range(RUNS)]
    assert sum(alarm is not None for alarm in alarms) == 0


@pytest.mark.parametrize(
    ("name", "rate_rps", "within_s"),
    [
        ("load 1.1", 1000.0, 15.0),
        ("load 1.1", 100.0, 50.0),
        ("load 1.1, bursty", 1000.0, 20.0),
        ("load 1.5", 100.0, 12.0),
        ("load 10", 100.0, 12.0),
    ],
)
def test_a_server_that_cannot_keep_up_is_called_hopeless(name: str, rate_rps: float, within_s: float) -> None:
    queue = next(each for each in SERVERS if each.name == name)
    alarms = [alarm_s(queue, rate_rps, seed) or np.inf for seed in range(RUNS)]
    assert np.median(alarms) <= within_s
    assert np.mean(np.isfinite(alarms)) >= 0.8


def _served(due_s: Times, service_s: Times, servers: int) -> Times:
    """When requests are done that wait for one of several servers, first come first served."""
    free = [0.0] * servers
    done = []
    for due, service in zip(due_s.tolist(), service_s.tolist(), strict=True):
        done.append(max(heapq.heappop(free), due) + service)
        heapq.heappush(free, done[-1])
    return np.array(done)


def _looks(due_s: Times, done_s: Times) -> list[str | None]:
    found = []
    for now_s in range(1, 61):
        due_ns = (due_s[due_s <= now_s] * 1e9).astype(np.int64) + 1
        done_ns = (done_s[: len(due_ns)] * 1e9).astype(np.int64) + 1
        now_ns = now_s * 1_000_000_000 + 1
        found.append(over_saturated(due_ns, np.where(done_ns <= now_ns, done_ns, 0), 1, now_ns))
    return found


@pytest.mark.parametrize(
    "answers",
    [
        lambda random, n: random.exponential(20.0, n),
        lambda random, n: np.full(n, 20.0),
        lambda random, n: 3.0 * np.exp(random.standard_normal(n)),
    ],
    ids=["exponential", "constant", "lognormal"],
)
def test_a_server_of_long_answers_fills_and_is_no_alarm(
    answers: Callable[[np.random.Generator, int], Times],
) -> None:
    """GuideLLM's issue 606: requests in flight rise for as long as an answer takes, in any server."""
    random = np.random.default_rng(1)
    due = np.sort(random.uniform(0.0, 60.0, 3000))
    assert set(_looks(due, due + answers(random, len(due)))) == {None}


def test_long_answers_of_a_server_with_too_few_slots_are_an_alarm() -> None:
    random = np.random.default_rng(2)
    due = np.sort(random.uniform(0.0, 60.0, 6000))
    found = _looks(due, _served(due, random.exponential(1.0, len(due)), servers=60))
    said = next(each for each in found if each is not None)
    assert "requests were waiting" in said


def test_requests_given_up_are_still_owed() -> None:
    """A client that gives up after two seconds frees no slot: the load stays as hopeless."""
    random = np.random.default_rng(3)
    due = np.sort(random.uniform(0.0, 60.0, 60_000))
    done = _served(due, random.exponential(1 / 500, len(due)), servers=1)
    assert any(_looks(due, np.where(done - due < 2.0, done, 1e6)))


def test_refusals_are_answers() -> None:
    """A server that sheds what is too much keeps up with the rest."""
    due = np.linspace(0.0, 60.0, 60_000)
    assert not any(_looks(due, due + 0.001))


def test_a_silent_server_is_not_a_matter_of_rate() -> None:
    due = np.linspace(0.0, 60.0, 6000)
    assert not any(_looks(due, np.full(len(due), 1e6)))


def test_nothing_due_is_no_alarm() -> None:
    none = np.empty(0, dtype=np.int64)
    assert over_saturated(none, none, 0, 60_000_000_000) is None


def test_the_sentence_has_the_figures() -> None:
    due = np.arange(0, 20_000_000_000, 1_000_000) + 1
    done = np.where(2 * due <= 20_000_000_000, 2 * due, 0)
    said = over_saturated(due, done, 1, 20_000_000_001)
    assert said is not None
    assert said.startswith("after 20 s 10000 requests were waiting, and ever more")
    assert said.endswith("a second came and 500 were answered")


def test_a_server_that_loses_answers_and_serves_the_rest_is_not_hopeless() -> None:
    """Lost answers pile up as a backlog does, but nobody waits behind them."""
    due = np.linspace(0.0, 60.0, 60_000)
    lost = np.arange(len(due)) % 100 == 0
    assert not any(_looks(due, np.where(lost, 1e6, due + 0.002)))


def test_a_server_that_loses_answers_and_cannot_keep_up_is_hopeless() -> None:
    random = np.random.default_rng(6)
    due = np.sort(random.uniform(0.0, 60.0, 60_000))
    done = _served(due, random.exponential(1 / 800, len(due)), servers=1)
    assert any(_looks(due, np.where(random.random(len(due)) < 0.01, 1e6, done)))


def test_answers_out_of_order_do_not_hide_an_overload() -> None:
    """A server that takes any of those that wait, 800 a second of 1000."""
    random = np.random.default_rng(7)
    due = np.sort(random.uniform(0.0, 60.0, 60_000))
    done, waiting, came = np.full(len(due), 1e6), list[int](), 0
    for now in np.cumsum(random.exponential(1 / 800, 48_000)).tolist():
        while came < len(due) and due[came] <= now:
            waiting.append(came)
            came += 1
        if waiting:
            pick = int(random.integers(len(waiting)))
            waiting[pick], waiting[-1] = waiting[-1], waiting[pick]
            done[waiting.pop()] = now
    assert any(_looks(due, done))


def test_a_load_whose_rate_changes_is_not_watched() -> None:
    assert steady(OpenLoop(100.0, Arrival.GAMMA, 0.1))
    assert not steady(OpenLoop(100.0, Arrival.TRACE, trace=Trace("", "ab")))
    assert not steady(ClosedLoop(8))
