"""The cache audit, on simulated servers whose caches are known."""

import math
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest

from loadgen.cache_audit import MARGIN, ORDER, CacheVerdict, audit
from nightbench.figures import Estimate
from nightbench.stats.quantiles import quantile

REQUESTS = 400


class Server:
    """Lognormal service times around 1 ms; a hit in its cache of least recently used inputs takes ``hit`` of one."""

    def __init__(
        self,
        seed: int,
        cached: int = 0,
        hit: float = 0.1,
        drift: float = 0.0,
        between: float = 0.01,
        sigma: float = 0.3,
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.cached, self.hit, self.drift, self.between, self.sigma = cached, hit, drift, between, sigma
        self.cache: OrderedDict[int, None] = OrderedDict()
        self.fresh = 0
        self.runs = 0

    def answer(self, key: int) -> float:
        took = 1e6 * math.exp(self.random.normal(0.0, self.sigma))
        if key in self.cache:
            took *= self.hit
        self.cache[key] = None
        self.cache.move_to_end(key)
        while len(self.cache) > self.cached:
            self.cache.popitem(last=False)
        return took

    def measure(self, distinct: bool) -> Estimate:
        """A run: the machine drifts from run to run, and each run has luck of its own."""
        self.runs += 1
        keys = [-1] * REQUESTS
        if distinct:
            keys = list(range(self.fresh, self.fresh + REQUESTS))
            self.fresh += REQUESTS
        luck = math.exp(self.drift * self.runs + self.random.normal(0.0, self.between))
        found = quantile(np.array([self.answer(key) for key in keys]) * luck, 0.5)
        assert isinstance(found, Estimate)
        return found


@pytest.mark.parametrize("cached", [1, 100])
@pytest.mark.parametrize("hit", [0.02, 0.5])
def test_a_cache_is_found(cached: int, hit: float) -> None:
    found = audit(Server(1, cached=cached, hit=hit).measure)
    assert found.verdict is CacheVerdict.CACHE_ANSWERS
    assert found.ratio is not None
    assert found.ratio.low is not None
    assert found.ratio.low < hit < (found.ratio.high or 0.0)


def test_no_cache_is_no_cache() -> None:
    found = audit(Server(2).measure)
    assert found.verdict is CacheVerdict.NONE_SEEN
    assert "not less than" in found.detail


@pytest.mark.parametrize("drift", [-0.1, 0.1])
def test_a_machine_that_slows_down_steadily_is_no_cache(drift: float) -> None:
    """Twice as slow at the end: all distinct runs before all repeated ones would have shown a cache, or hidden one."""
    assert audit(Server(3, drift=drift).measure).verdict is CacheVerdict.NONE_SEEN
    assert audit(Server(3, drift=drift, cached=5, hit=0.5).measure).verdict is CacheVerdict.CACHE_ANSWERS


def test_the_order_balances_straight_and_curved_drifts() -> None:
    sign = np.where(ORDER, 1, -1)
    time = np.arange(len(ORDER))
    assert [int((sign * time**power).sum()) for power in (0, 1, 2)] == [0, 0, 0]


def test_a_restless_machine_cannot_tell() -> None:
    found = audit(Server(4, between=0.5).measure)
    assert found.verdict is CacheVerdict.CANNOT_TELL
    assert "quieter machine" in found.detail


def test_few_requests_cannot_tell_however_alike_the_runs_are() -> None:
    """The runs' own intervals bound what their agreement may claim."""
    wide = Estimate(1e6, 0.5e6, 2e6)
    assert audit(lambda _: wide).verdict is CacheVerdict.CANNOT_TELL
    assert audit(lambda _: Estimate(1e6)).verdict is CacheVerdict.NONE_SEEN


@pytest.mark.parametrize("broken", [0.0, math.nan, math.inf])
def test_a_run_without_a_figure_cannot_tell(broken: float) -> None:
    figures = iter([1.0, 1.0, broken, *[1.0] * 5])
    found = audit(lambda _: Estimate(next(figures)))
    assert (found.verdict, found.ratio) == (CacheVerdict.CANNOT_TELL, None)
    assert "no median" in found.detail


def test_failures_of_a_run_pass_through() -> None:
    def stopped(_: bool) -> Estimate:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        audit(stopped)


def verdicts(make: Callable[[int], Server], times: int) -> dict[CacheVerdict, int]:
    found = [audit(make(seed).measure).verdict for seed in range(times)]
    return {verdict: found.count(verdict) for verdict in CacheVerdict}


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Runs of known figures, so that many audits cost little."""
    random = np.random.default_rng(5)
    truth, covered, times = 0.8, 0, 2000
    for _ in range(times):
        drift, turn = random.normal(0.0, 0.02), 0

        def run(distinct: bool, drift: float = drift) -> Estimate:
            nonlocal turn
            turn += 1
            value = math.exp(drift * turn + random.normal(0.0, 0.05)) * (1.0 if distinct else truth)
            return Estimate(value)

        ratio = audit(run).ratio
        assert ratio is not None
        covered += (ratio.low or 0.0) <= truth <= (ratio.high or 0.0)
    assert 0.935 <= covered / times <= 0.965


def test_a_cache_just_at_the_margin_is_seldom_called_either_way() -> None:
    def make(seed: int) -> Server:
        return Server(seed, cached=1, hit=1.0 - MARGIN, sigma=0.05)

    found = verdicts(make, 40)
    assert found[CacheVerdict.CANNOT_TELL] >= 30
