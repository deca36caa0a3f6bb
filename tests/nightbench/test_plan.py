"""The plan: repeatable from its seed, complete, fair in its order, and resumable."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nightbench.load import Arrival, ClosedLoop, Goal, Load, OpenLoop, PeakShare, Search, Trace
from nightbench.model import Format, Precision
from nightbench.plan import TYPICAL_STEPS, Export, Plan, Point, Setup, cell_key, expand, remaining
from nightbench.server import Protocol

EXPORT = Export("m", Format.ONNX, Precision.FP32, "random")
POINTS: list[Point] = [
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


def test_the_estimate_counts_a_search_as_several_windows() -> None:
    plan = expand({Setup("s", EXPORT, ()): [*POINTS, (Protocol.RAW_HTTP, 1, Search(Goal.KNEE))]}, 2, seed=1)
    assert plan.estimate_s(cell_s=10, start_estimates_s={"s": 5}) == 2 * (5 + 10 * (3 + TYPICAL_STEPS))


PEAK = Search(Goal.PEAK)
_SHARES = [PeakShare(share) for share in (0.5, 0.7, 0.9)]


@given(seed=st.integers(0, 2**32), shares=st.integers(1, 3), batches=st.sets(st.integers(1, 8), min_size=1, max_size=3))
def test_a_peak_is_looked_for_before_what_is_a_share_of_it(seed: int, shares: int, batches: set[int]) -> None:
    loads: list[Load] = [*_SHARES[:shares], ClosedLoop(1), PEAK, Search(Goal.KNEE)]
    points = [(Protocol.RAW_HTTP, batch, load) for batch in sorted(batches) for load in loads]
    for replicate in expand({Setup("s", EXPORT, ()): points}, 3, seed).replicates:
        order = [cell.point for cell in replicate.cells]
        assert sorted(map(repr, order)) == sorted(map(repr, points))
        for batch in batches:
            of_batch = [load for _, size, load in order if size == batch]
            assert of_batch.index(PEAK) < min(of_batch.index(share) for share in _SHARES[:shares])


def test_what_does_not_wait_for_a_peak_keeps_its_shuffled_place() -> None:
    others: list[Point] = [(Protocol.RAW_HTTP, 1, ClosedLoop(at)) for at in range(1, 5)]
    both: list[Point] = [(Protocol.RAW_HTTP, 1, PeakShare(0.7)), (Protocol.RAW_HTTP, 1, PEAK)]
    ranks = set()
    for seed in range(200):
        (replicate,) = expand({Setup("s", EXPORT, ()): [*others, *both]}, 1, seed).replicates
        ranks.add([cell.load for cell in replicate.cells].index(PEAK))
    assert ranks == {0, 1, 2, 3, 4}


def test_plans_and_keys_made_before_there_were_searches_are_as_they_were() -> None:
    """What an earlier version planned, so that its runs can be resumed and its series go on."""
    assert [cell.cell_id for cell in make(2, 2, seed=5).cells] == [
        *("8ba6c5a55778.r1", "6d286735e3d1.r1", "281d09233d2e.r1", "def0e03fc2b2.r1", "7c89ad0f9ff8.r1"),
        *("8962a5309b5e.r1", "6d286735e3d1.r2", "281d09233d2e.r2", "8ba6c5a55778.r2", "def0e03fc2b2.r2"),
        *("8962a5309b5e.r2", "7c89ad0f9ff8.r2"),
    ]
    setup = Setup("triton", EXPORT, (("batching", False), ("instances", 1)))
    loads: list[Load] = [ClosedLoop(4), OpenLoop(20.0), OpenLoop(20.5, Arrival.CONSTANT)]
    keys = ["5a3ec4827cb3", "400c0027fdf0", "3e04cf299639"]
    assert [cell_key(setup, Protocol.KSERVE_GRPC, 1, load) for load in loads] == keys


def test_a_key_tells_loads_apart_but_not_where_a_trace_lies() -> None:
    def key(load: Load) -> str:
        return cell_key(Setup("s", EXPORT, ()), Protocol.RAW_HTTP, 1, load)

    here, there, other = Trace("/here", "ab"), Trace("/there", "ab"), Trace("/here", "cd")
    loads: list[Load] = [
        *(OpenLoop(20.0, Arrival.TRACE, trace=here), OpenLoop(20.0, Arrival.TRACE, trace=other)),
        *(OpenLoop(20.0, Arrival.GAMMA, 0.5), OpenLoop(20.0, Arrival.GAMMA, 2.0), OpenLoop(20.0)),
        *(PeakShare(0.7), PeakShare(0.8), PeakShare(0.7, Arrival.CONSTANT), PeakShare(20.0)),
        *(PEAK, Search(Goal.KNEE), Search(Goal.PEAK, most_concurrent=64), Search(Goal.SLO, 50.0)),
        *(Search(Goal.SLO, 60.0), Search(Goal.SLO, 50.0, Arrival.GAMMA, 0.5)),
    ]
    assert len({key(load) for load in loads}) == len(loads)
    assert key(loads[0]) == key(OpenLoop(20.0, Arrival.TRACE, trace=there))
