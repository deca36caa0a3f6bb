"""Searches against simulated servers whose capacity and latency are known."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightbench.figures import Doubt, Estimate, Reason, SearchFigures, SearchStep
from nightbench.load import Arrival, ClosedLoop, EndedBy, Goal, OpenLoop, Search, Step
from nightbench.search import MOST_STEPS, propose
from nightbench.stats.rates import throughput

Server = Callable[[Step], SearchStep]

PEAK, KNEE = Search(Goal.PEAK), Search(Goal.KNEE)
SLO = Search(Goal.SLO, p99_ms=50.0)


def _erlang_c(servers: int, offered: float) -> float:
    """Chance of waiting in M/M/c (Erlang 1917)."""
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    return blocked / (1.0 - offered / servers * (1.0 - blocked))


def _closed_rps(servers: int, mu: float, clients: int) -> float:
    """Throughput of a closed loop of M/M/c, by the stationary law of its one queue: all clients are always in it."""
    return mu * min(servers, clients)


def _p99_s(servers: int, mu: float, rate: float) -> float:
    """p99 of the latency of M/M/c: service plus, sometimes, an exponential wait."""
    waits = _erlang_c(servers, rate / mu)
    drain = servers * mu - rate

    def beyond(t: float) -> float:
        if math.isclose(drain, mu):
            return (1.0 + waits * mu * t) * math.exp(-mu * t)
        mixed = (drain * math.exp(-mu * t) - mu * math.exp(-drain * t)) / (drain - mu)
        return (1.0 - waits) * math.exp(-mu * t) + waits * mixed

    low, high = 0.0, 1e4 / mu
    for _ in range(100):
        middle = (low + high) / 2.0
        low, high = (middle, high) if beyond(middle) > 0.01 else (low, middle)
    return low


def _highest_rate(servers: int, mu: float, bound_s: float) -> float:
    low, high = 0.0, servers * mu
    for _ in range(100):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _p99_s(servers, mu, middle) <= bound_s else (low, middle)
    return low


def _around(random: np.random.Generator, truth: float, noise: float) -> Estimate:
    """A figure whose 95 % interval is honest."""
    value = truth * math.exp(noise * random.standard_normal())
    return Estimate(value, value * math.exp(-1.96 * noise), value * math.exp(1.96 * noise))


def _server(servers: int, mu: float, noise: float = 0.005, seed: int = 0, loss: float = 0.0) -> Server:
    """M/M/c; beyond it, ``loss`` is the share of throughput that every doubling of the clients costs."""
    random = np.random.default_rng(seed)

    def answer(load: Step) -> SearchStep:
        if isinstance(load, ClosedLoop):
            crowd = max(0.0, math.log2(load.concurrency / servers))
            rate = _closed_rps(servers, mu, load.concurrency) * (1.0 - loss) ** crowd
            return _step(load, _around(random, rate, noise), load.concurrency / rate)
        if load.rate_rps >= 0.999 * servers * mu:
            return _step(load, _around(random, servers * mu, noise), 10.0, ended_by=EndedBy.OVER_SATURATED)
        p99 = _around(random, _p99_s(servers, mu, load.rate_rps) * 1e9, 4 * noise)
        return _step(load, _around(random, load.rate_rps, noise), p99=p99)

    return answer


def _step(
    load: Step,
    rate: Estimate,
    p99_s: float = 1.0,
    *,
    p99: Estimate | None = None,
    ended_by: EndedBy = EndedBy.DURATION,
    reasons: Sequence[Reason] = (),
) -> SearchStep:
    found = {"p99": p99 if p99 is not None else Estimate(p99_s * 1e9, p99_s * 0.95e9, p99_s * 1.05e9)}
    return SearchStep(load, rate, found, 0, ended_by, tuple(Doubt(reason, "") for reason in reasons))


def _found(search: Search, server: Server) -> SearchFigures:
    steps: list[SearchStep] = []
    while True:
        asked = propose(search, steps)
        if isinstance(asked, SearchFigures):
            return asked
        assert len(steps) < MOST_STEPS
        steps.append(server(asked))


def _supported(figures: SearchFigures) -> bool:
    return figures.answer_rps.low is not None and figures.answer_rps.high is not None


@pytest.mark.parametrize("servers", [1, 2, 3, 6, 16, 50])
@pytest.mark.parametrize("seed", range(5))
def test_the_peak_is_the_capacity_at_about_as_many_clients_as_servers(servers: int, seed: int) -> None:
    found = _found(PEAK, _server(servers, 40.0, noise=0.01, seed=seed))
    assert _supported(found)
    assert found.answer_rps.value == pytest.approx(40.0 * servers, rel=0.06)
    assert found.steps[found.chosen].throughput_rps == found.answer_rps
    assert servers <= 1.05 * _clients(found)
    assert _clients(found) <= 1.5 * servers


def test_a_peak_that_collapses_under_more_is_found_between_powers_of_two() -> None:
    found = _found(PEAK, _server(24, 10.0, loss=0.3))
    assert _supported(found)
    assert 20 <= _clients(found) <= 30
    assert found.answer_rps.value == pytest.approx(240.0, rel=0.08)
    assert "gained nothing" in found.detail


def _clients(found: SearchFigures) -> float:
    return found.steps[found.chosen].load.size


@pytest.mark.parametrize("servers", [1, 4, 12, 32])
def test_the_knee_is_where_every_server_is_busy_and_nobody_waits(servers: int) -> None:
    """The asymptotic bounds of a closed queue cross there, and its power is largest (Kleinrock 1979)."""
    found = _found(KNEE, _server(servers, 5.0, seed=servers))
    assert _supported(found)
    assert _clients(found) == pytest.approx(servers, rel=0.26)


@pytest.mark.parametrize("search", [PEAK, KNEE])
def test_a_ladder_that_still_climbs_at_its_top_supports_no_answer(search: Search) -> None:
    found = _found(search, _server(1000, 1.0))
    assert not _supported(found)
    assert _clients(found) == 256
    assert "still rose at concurrency 256" in found.detail


def test_no_load_is_larger_than_allowed() -> None:
    for most in (1, 3, 100):
        found = _found(Search(Goal.PEAK, most_concurrent=most), _server(1000, 1.0))
        assert max(step.load.size for step in found.steps) == most


def test_loads_at_which_requests_fail_are_no_peak() -> None:
    sound = _server(1000, 1.0)

    def fails_above_ten(load: Step) -> SearchStep:
        step = sound(load)
        return step if load.size <= 10 else _step(load, step.throughput_rps, reasons=[Reason.ERRORS])

    found = _found(PEAK, fails_above_ten)
    assert 8 <= _clients(found) <= 10

    hopeless = _found(PEAK, lambda load: _step(load, Estimate(5.0, 4.0, 6.0), reasons=[Reason.ERRORS]))
    assert not _supported(hopeless)
    assert "failed at every load" in hopeless.detail


@pytest.mark.parametrize("search", [PEAK, KNEE, Search(Goal.SLO, 1e5)])
def test_a_dead_server_ends_the_search(search: Search) -> None:
    sound = _server(1000, 1.0)
    found = _found(
        search,
        lambda load: (
            sound(load) if load.size < 30 else _step(load, Estimate(1.0, 0.5, 2.0), reasons=[Reason.SERVER_DIED])
        ),
    )
    assert "the server died" in found.detail
    assert found.steps[found.chosen].load.size < 30


@pytest.mark.parametrize(("servers", "mu"), [(1, 500.0), (1, 3000.0), (4, 200.0), (8, 130.0), (64, 120.0)])
@pytest.mark.parametrize("seed", range(5))
def test_the_highest_rate_that_keeps_a_bound(servers: int, mu: float, seed: int) -> None:
    truth = _highest_rate(servers, mu, 0.050)
    found = _found(SLO, _server(servers, mu, seed=seed))
    assert _supported(found)
    assert found.answer_rps.value == pytest.approx(truth, rel=0.10)
    assert found.answer_rps.value <= 1.02 * truth
    assert found.answer_rps.high is not None
    assert found.answer_rps.high >= 0.97 * truth
    assert found.steps[found.chosen].load.size == found.answer_rps.value


def test_the_arrivals_asked_for_are_sent() -> None:
    found = _found(Search(Goal.SLO, 50.0, Arrival.GAMMA, 0.5), _server(4, 200.0))
    assert {(step.load.arrival, step.load.burstiness) for step in found.steps if isinstance(step.load, OpenLoop)} == {
        (Arrival.GAMMA, 0.5)
    }


def test_one_stall_does_not_bound_the_answer() -> None:
    """The first rate tried is broken by bad luck; the search comes back to it, and goes on."""
    sound, unlucky = _server(4, 200.0), [True]

    def server(load: Step) -> SearchStep:
        if isinstance(load, OpenLoop) and unlucky.pop():
            unlucky.append(False)
            return _step(load, Estimate(load.rate_rps, load.rate_rps, load.rate_rps), 1.0)
        unlucky.append(False)
        return sound(load)

    def after_the_closed_loop(load: Step) -> SearchStep:
        return sound(load) if isinstance(load, ClosedLoop) else server(load)

    found = _found(SLO, after_the_closed_loop)
    assert found.answer_rps.value == pytest.approx(_highest_rate(4, 200.0, 0.050), rel=0.10)


def test_an_undecided_rate_is_tried_twice_and_then_broken() -> None:
    wide = Estimate(48e6, 40e6, 60e6)
    sound = _server(4, 125.0)

    def server(load: Step) -> SearchStep:
        if isinstance(load, OpenLoop) and 300.0 < load.rate_rps < 400.0:
            return _step(load, Estimate(load.rate_rps, load.rate_rps, load.rate_rps), p99=wide)
        return sound(load)

    found = _found(SLO, server)
    assert 300.0 / 1.05 <= found.answer_rps.value <= 300.0
    unsure = [step.load.size for step in found.steps[1:] if 300.0 < step.load.size < 400.0]
    assert unsure
    assert all(unsure.count(rate) == 2 for rate in unsure)
    assert "undecided twice" in found.detail
    assert found.answer_rps.high is None or found.answer_rps.high >= 400.0


def test_a_limit_of_the_client_is_no_answer_about_the_server() -> None:
    sound = _server(1000, 100.0)

    def server(load: Step) -> SearchStep:
        late = [Reason.CLIENT_SATURATED] if isinstance(load, OpenLoop) and load.rate_rps > 900.0 else []
        return sound(load) if not late else _step(load, Estimate(900.0, 890.0, 910.0), reasons=late)

    found = _found(SLO, server)
    assert not _supported(found)
    assert "too much for the client" in found.detail


def test_a_bound_that_nothing_keeps() -> None:
    found = _found(SLO, _server(4, 20.0))
    assert not _supported(found)
    assert found.answer_rps.value == 0.0
    assert "no rate kept p99 <= 50 ms: " in found.detail
    assert "rps broke it" in found.detail


def test_a_p99_that_needs_more_requests_is_not_looked_for_at_lower_rates() -> None:
    found = _found(SLO, lambda load: _step(load, Estimate(10.0, 9.0, 11.0), p99=Estimate(1e6, 5e5)))
    assert not _supported(found)
    assert len(found.steps) == 3
    assert "measure for longer" in found.detail


def test_a_server_that_answers_nothing() -> None:
    found = _found(SLO, lambda load: _step(load, Estimate(0.0, 0.0, 1.0), reasons=[Reason.ERRORS]))
    assert len(found.steps) == 1
    assert "nothing was answered" in found.detail


def test_a_bound_that_nothing_breaks() -> None:
    found = _found(Search(Goal.SLO, 1e6), lambda load: _step(load, Estimate(10.0, 9.0, 11.0), 0.001))
    assert not _supported(found)
    assert found.answer_rps.low == found.answer_rps.value
    assert len(found.steps) == MOST_STEPS


_REASONS = st.lists(
    st.sampled_from([Reason.ERRORS, Reason.RATE_MISSED, Reason.NOT_STATIONARY, Reason.LATE_SENDS]), max_size=1
)
_FIGURES = st.one_of(st.just(0.0), st.floats(1e-9, 1e9))
_ESTIMATES = st.one_of(
    _FIGURES.map(Estimate),
    st.tuples(_FIGURES, st.floats(0.0, 1.0), st.floats(1.0, 2.0)).map(
        lambda drawn: Estimate(drawn[0], drawn[0] * drawn[1], drawn[0] * drawn[2])
    ),
)


@settings(max_examples=300)
@given(search=st.sampled_from([PEAK, KNEE, SLO, Search(Goal.PEAK, most_concurrent=5)]), data=st.data())
def test_every_search_ends_whatever_the_steps_say(search: Search, data: st.DataObject) -> None:
    def server(load: Step) -> SearchStep:
        assert load.size > 0
        return SearchStep(
            load,
            data.draw(_ESTIMATES),
            data.draw(st.one_of(st.just({}), _ESTIMATES.map(lambda drawn: {"p99": drawn}))),
            0,
            data.draw(st.sampled_from([EndedBy.DURATION, EndedBy.OVER_SATURATED])),
            tuple(Doubt(reason, "") for reason in data.draw(_REASONS)),
        )

    found = _found(search, server)
    assert 0 <= found.chosen < len(found.steps) <= MOST_STEPS
    assert found.detail
    answer = found.answer_rps
    assert answer.low is None or answer.low <= answer.value
    assert answer.high is None or answer.value <= answer.high
    if search.goal is not Goal.SLO:
        sizes = [step.load.size for step in found.steps]
        assert len(set(sizes)) == len(sizes), "a climb tries nothing twice"


def _sleeper(seconds: float, window_s: float, jitter_s: float) -> Server:
    """Answers each request after ``seconds``, however many there are, as measured for ``window_s``."""
    random = np.random.default_rng(11)

    def answer(load: Step) -> SearchStep:
        assert isinstance(load, ClosedLoop)
        cycles = np.cumsum(seconds + jitter_s * random.random((20, load.concurrency)), axis=0)
        done = (cycles.ravel() * 1e9).astype(np.int64)
        start = round(1.3 * seconds * 1e9)
        rate = throughput(done, start, start + round(window_s * 1e9), clients=load.concurrency)
        return _step(load, rate, seconds)

    return answer


@pytest.mark.parametrize("search", [Search(Goal.PEAK, most_concurrent=64), Search(Goal.KNEE, most_concurrent=64)])
@pytest.mark.parametrize("seconds", [0.2, 1.0])
def test_a_server_that_only_waits_is_climbed_to_the_top(search: Search, seconds: float) -> None:
    """Three steps of it hold two or three whole rounds of its clients."""
    found = _found(search, _sleeper(seconds, 3.0, 0.001))
    assert not _supported(found)
    assert _clients(found) == 64
    assert found.answer_rps.value == pytest.approx(64 / seconds, rel=0.01)
    assert "still rose at concurrency 64" in found.detail


def _known(rate: Callable[[float], float], half: Callable[[float], float]) -> Server:
    """Throughput and the half-width of its interval, by concurrency."""

    def answer(load: Step) -> SearchStep:
        value = rate(load.size)
        return _step(load, Estimate(value, max(0.0, value - half(load.size)), value + half(load.size)))

    return answer


@pytest.mark.parametrize("search", [PEAK, KNEE])
def test_a_highest_that_is_hardly_known_does_not_make_the_lowest_the_best(search: Search) -> None:
    """Up to 64 clients are served at once. The highest figure is that of the most, where it is hardly known."""
    found = _found(
        search,
        _known(lambda clients: min(clients, 64.0) + (clients == 256) * 10.0, lambda c: 60.0 if c == 256 else 0.01 * c),
    )
    assert 50 <= _clients(found) <= 64


@pytest.mark.parametrize("search", [Search(Goal.PEAK, most_concurrent=64), Search(Goal.KNEE, most_concurrent=64)])
def test_intervals_too_wide_to_tell_support_no_answer(search: Search) -> None:
    found = _found(search, _known(lambda clients: clients, lambda clients: 0.9 * clients))
    assert not _supported(found)
    assert _clients(found) == 64
    assert max(step.load.size for step in found.steps) == 64


def test_a_flat_server_whose_figures_are_too_wide_supports_no_answer() -> None:
    found = _found(PEAK, _known(lambda clients: 100.0, lambda clients: 40.0))
    assert not _supported(found)
    assert "too wide to tell whether throughput still rises" in found.detail


def test_one_step_that_is_hardly_known_does_not_end_a_climb_nor_spoil_it() -> None:
    found = _found(PEAK, _known(lambda c: 10.0 * min(c, 8), lambda c: 40.0 if c in (1, 2) else 1.0))
    assert _supported(found)
    assert found.answer_rps.value == 80.0
    assert _clients(found) == 8


def test_a_client_out_of_connections_leaves_a_bound_undecided() -> None:
    sound = _server(1000, 100.0)

    def server(load: Step) -> SearchStep:
        if not isinstance(load, OpenLoop) or load.rate_rps <= 900.0:
            return sound(load)
        short = [Reason.CONNECTIONS_SHORT, Reason.OVER_SATURATED]
        return _step(load, Estimate(900.0, 890.0, 910.0), ended_by=EndedBy.OVER_SATURATED, reasons=short)

    found = _found(SLO, server)
    assert not _supported(found)
    assert "too much for the client" in found.detail
