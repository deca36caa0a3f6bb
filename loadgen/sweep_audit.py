"""A cache audit of a running server: sweeps with inputs never sent before, in turns with one input repeated."""

from collections.abc import Callable
from dataclasses import replace

from loadgen.cache_audit import ORDER, CacheAudit, audit
from loadgen.payload import Payload
from loadgen.sweep import Sweep, run_sweep
from nightbench.figures import Estimate
from nightbench.load import ClosedLoop, Search
from nightbench.stopping import never

__all__ = ["audit_sweep"]

_REQUESTS = 2000
"""Of each run, and as many inputs where they are distinct."""
_LONGEST_S = 5.0
"""Of each run."""
_NOTHING = Estimate(0.0)


def audit_sweep(
    sweep: Sweep, draw: Callable[[int, int], Payload], should_stop: Callable[[], bool] = never
) -> CacheAudit:
    """Whether a cache answers the requests of ``sweep``; ``draw`` makes a payload from a seed and a number of inputs.

    A search is audited with one request at a time. Raises as `run_sweep`.
    """
    numbers = iter(range(1, len(ORDER) + 1))

    def median(distinct: bool) -> Estimate:
        # Seeds beyond the sweep's own, so that nothing was sent before.
        payload = draw(sweep.seed + next(numbers), _REQUESTS if distinct else 1)
        one = replace(
            sweep,
            payload=payload,
            load=ClosedLoop(1) if isinstance(sweep.load, Search) else sweep.load,
            duration_s=min(_LONGEST_S, sweep.duration_s or _LONGEST_S),
            max_requests=payload.requests if distinct else _REQUESTS,
            warmup_s=0.0,
            precision=None,
        )
        return run_sweep(one, should_stop).service_ns.get("p50", _NOTHING)

    return audit(median)
