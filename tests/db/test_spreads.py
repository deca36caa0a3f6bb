"""Where machines that share a load meet."""

from datetime import UTC, datetime, timedelta

import pytest

from db.store import Store
from nightbench.errors import NightbenchError


def test_what_one_machine_writes_another_reads(store: Store) -> None:
    store.begin_spread("a1", 2, {"batch": 1}, b"inputs")
    spread = store.spread("a1")
    assert (spread.machines, spread.job, spread.pool, spread.start_at_ns) == (2, {"batch": 1}, b"inputs", None)
    store.join_spread("a1", 0, "amber")
    store.join_spread("a1", 1, "birch")
    # Its worker died and another took the part.
    store.join_spread("a1", 1, "cedar")
    assert {machine: part.host for machine, part in store.spread_parts("a1").items()} == {0: "amber", 1: "cedar"}
    store.start_spread("a1", 1_700_000_000_000_000_123)
    assert store.spread("a1").start_at_ns == 1_700_000_000_000_000_123
    store.put_part("a1", 0, {"requests": 3}, b"rows")
    light, whole = store.spread_parts("a1")[0], store.spread_parts("a1", whole=True)[0]
    assert (light.result, light.samples) == ({"requests": 3}, None)
    assert whole.samples == b"rows"


def test_a_load_that_is_over_is_forgotten_with_its_parts(store: Store) -> None:
    store.begin_spread("a1", 1, {}, b"")
    store.join_spread("a1", 0, "amber")
    store.end_spread("a1")
    assert store.spread_parts("a1") == {}
    with pytest.raises(NightbenchError, match="is over"):
        store.spread("a1")
    # Whoever comes late leaves nothing behind.
    store.put_part("a1", 0, {}, b"late")
    assert store.spread_parts("a1") == {}


def test_loads_that_nobody_ended_are_forgotten_in_time(store: Store) -> None:
    store.begin_spread("a1", 1, {}, b"")
    assert store.forget_spreads(datetime.now(UTC) - timedelta(days=1)) == 0
    assert store.forget_spreads(datetime.now(UTC) + timedelta(days=1)) == 1
    with pytest.raises(NightbenchError, match="is over"):
        store.spread("a1")
