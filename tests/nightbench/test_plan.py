"""The plan: repeatable from its seed, complete, fair in its order, and resumable."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nightbench.load import ClosedLoop, Load, OpenLoop
from nightbench.model import Format, Precision
from nightbench.plan import Export, Plan, Setup, expand, remaining
from nightbench.server import Protocol

EXPORT = Export("m", Format.ONNX, Precision.FP32, "random")
POINTS: list[tuple[Protocol, int, Load]] = [
    (Protocol.RAW_HTTP, 1, ClosedLoop(1)),
    (Protocol.RAW_HTTP, 8, ClosedLoop(1)),
    (Protocol.RAW_HTTP, 1, OpenLoop(20)),
]


def make(servers: int, rounds: int, seed: int) -> Plan:
    return expand({Setup(f"s{number}", EXPORT, ()): POINTS for number in range(servers)}, rounds, seed)


@given(servers=st.integers(1, 6), rounds=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_every_round_deploys_every_server_once_and_measures_every_cell(servers: int, rounds: int, seed: int) -> None:
    plan = make(servers, rounds, seed)
    assert Counter((each.round, each.setup.server) for each in plan.replicates).most_common(1)[0][1] == 1
    assert len(plan.replicates) == servers * rounds
    assert len({cell.cell_id for cell in plan.cells}) == len(plan.cells) == servers * rounds * len(POINTS)
    assert [each.round for each in plan.replicates] == sorted(each.round for each in plan.replicates)
    assert all(cell.round == each.round for each in plan.replicates for cell in each.cells)


def test_the_seed_alone_decides_the_order() -> None:
    assert make(5, 3, seed=1) == make(5, 3, seed=1)
    orders = {tuple(each.setup.server for each in make(5, 1, seed).replicates) for seed in range(20)}
    assert len(orders) > 10


def test_a_cell_has_one_key_in_every_round_and_under_every_seed() -> None:
    keys = Counter(cell.key for cell in make(2, 3, seed=1).cells)
    assert set(keys.values()) == {3}
    assert set(keys) == {cell.key for cell in make(2, 1, seed=9).cells}


@given(seed=st.integers(0, 1000), done=st.sets(st.integers(0, 17)))
def test_what_remains_is_exactly_what_was_not_done_in_the_same_order(seed: int, done: set[int]) -> None:
    plan = make(3, 2, seed)
    finished = {plan.cells[index].cell_id for index in done}
    rest = remaining(plan, finished)
    assert [cell.cell_id for cell in rest.cells] == [
        cell.cell_id for cell in plan.cells if cell.cell_id not in finished
    ]
    assert all(each.cells for each in rest.replicates)
    assert (not rest.cells) == (not rest.exports)


def test_the_estimate_counts_every_start_and_every_window() -> None:
    assert make(2, 3, seed=1).estimate_s(cell_s=10, start_estimates_s={"s0": 5, "s1": 1}) == 3 * (5 + 1) + 18 * 10
