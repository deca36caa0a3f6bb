"""Made-up cells, sound unless told otherwise, and what is found in them."""

from typing import Any

import numpy as np

from nightbench.assess import Assessed, assess
from nightbench.figures import Reason
from nightbench.load import Load, OpenLoop
from nightbench.samples import Outcome, Samples

SECOND = 1_000_000_000
MS = 1_000_000
START = 5 * SECOND
OPEN = OpenLoop(400.0)


def make(intended: np.ndarray, service: np.ndarray, lag: np.ndarray | int = 0, outcome: Any = Outcome.OK) -> Samples:
    sent = intended + lag
    codes = np.full(len(intended), outcome, dtype=np.uint8)
    return Samples(intended, sent, sent + service // 2, sent + service, codes, np.full(len(intended), 100))


def open_cell(rate: float = 400.0, seconds: int = 10, seed: int = 1, **columns: Any) -> Samples:
    """Poisson arrivals, lognormal service around 4 ms with a p99 near 12.8 ms."""
    rng = np.random.default_rng(seed)
    intended = START + np.sort(rng.integers(0, seconds * SECOND, rng.poisson(rate * seconds)))
    return make(intended, (4 * MS * np.exp(0.5 * rng.standard_normal(len(intended)))).astype(np.int64), **columns)


def closed_cell(concurrency: int, pause_ns: int = 0, seconds: int = 10) -> Samples:
    rng = np.random.default_rng(2)
    sent, service = [], []
    for _ in range(concurrency):
        times = rng.integers(3 * MS, 5 * MS, 3 * seconds * 1000 // 8)
        begun = np.concatenate([[0], np.cumsum(times + pause_ns)[:-1]])
        keep = begun < seconds * SECOND
        sent.append(START + begun[keep])
        service.append(times[keep])
    order = np.argsort(np.concatenate(sent), kind="stable")
    return make(np.concatenate(sent)[order], np.concatenate(service)[order])


def judge(samples: Samples, load: Load = OPEN, **given_: Any) -> Assessed:
    facts: dict[str, Any] = {
        "started_ns": START,
        "ended_ns": max(START + 10 * SECOND, int(samples.done_ns.max(initial=0))),
        "min_warmup_ns": SECOND,
        "client_cpu_ns": 2 * SECOND,
        "verified": 80,
        "wrong": 0,
        "duration_s": 10.0,
        "server_died": False,
    }
    return assess(samples, load, **(facts | given_))


def reasons(found: Assessed) -> set[Reason]:
    assert all(len(doubt.detail) > 10 for doubt in found.doubts)
    return {doubt.reason for doubt in found.doubts}
