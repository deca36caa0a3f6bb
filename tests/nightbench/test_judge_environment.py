"""Whether the machine changed: canaries that agree, a fleet that moves as one, and what that explains."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from nightbench.figures import Estimate
from nightbench.judge.environment import FLEET, Fleet, Machine, Move, fleet_series, machine_of
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.series import Direction
from nightbench.judge.verdict import Change
from tests.nightbench.judged import NIGHTS, levels, plain_rule, points, slower, steady

__all__ = ["plain_rule"]

pytestmark = pytest.mark.usefixtures("plain_rule")

POLICY = JudgePolicy()
TONIGHT = NIGHTS[-1]
CPU = "cpu"


def machine(canaries: Mapping[tuple[str, str], Sequence[float]], fleet: Sequence[Fleet] = ()) -> Machine:
    return machine_of({name: points(values) for name, values in canaries.items()}, fleet, POLICY, TONIGHT)


def fleet_of(servers: int, slow: int, each: int = 3) -> list[Fleet]:
    """So many servers, the first of which are slower since three nights, in all of their series."""
    return [
        Fleet(
            f"server-{server}",
            Direction.LOWER,
            points(slower(seed=10 * server + at) if server < slow else steady(seed=10 * server + at)),
        )
        for server in range(servers)
        for at in range(each)
    ]


def changed(by: float, since: str = "night-35", nights: int = 5) -> Change:
    return Change(since, "night-34", nights, Estimate(100.0), Estimate(100.0 * by), 1e-6, firm=True)


def test_a_calm_machine_did_not_change() -> None:
    calm = {("matrix_product", CPU): steady(1), ("memory_copy", CPU): steady(2), ("null_request", CPU): steady(3)}
    assert not machine(calm, fleet_of(5, 0)).changed


def test_two_canaries_that_move_together_are_the_machine() -> None:
    seen = machine({("matrix_product", CPU): slower(seed=1), ("memory_copy", CPU): slower(seed=2)})
    assert len(seen.moves) == 2
    assert "a matrix product 1" in seen.words
    assert "slower" in seen.words


def test_one_of_several_canaries_is_not_the_machine() -> None:
    assert not machine({("matrix_product", CPU): slower(seed=1), ("memory_copy", CPU): steady(2)}).changed


def test_canaries_that_move_apart_do_not_agree() -> None:
    assert not machine({("matrix_product", CPU): slower(seed=1), ("memory_copy", CPU): slower(by=0.87, seed=2)}).changed
    assert not machine({("matrix_product", CPU): slower(4, seed=1), ("memory_copy", CPU): slower(12, seed=2)}).changed


def test_the_only_canary_of_a_device_speaks_alone() -> None:
    seen = machine({("gpu_matrix_product", "gpu0"): slower(seed=1), ("matrix_product", CPU): steady(2)})
    assert [move.device for move in seen.moves] == ["gpu0"]
    assert "on the GPU 0" in seen.words


def test_a_canary_that_did_not_run_tonight_says_nothing() -> None:
    before = {("matrix_product", CPU): points(slower(seed=1))[:-1], ("memory_copy", CPU): points(slower(seed=2))[:-1]}
    assert not machine_of(before, (), POLICY, TONIGHT).changed


def test_most_servers_together_are_the_machine() -> None:
    seen = machine({}, fleet_of(5, 3))
    assert [move.what for move in seen.moves] == [FLEET]


@pytest.mark.parametrize(("servers", "slow"), [(5, 2), (4, 2), (2, 1), (3, 1)])
def test_half_of_the_servers_or_fewer_are_not(servers: int, slow: int) -> None:
    assert not machine({}, fleet_of(servers, slow)).changed


@pytest.mark.parametrize(("found", "changes"), [(3, True), (2, False)])
def test_one_night_is_enough_where_most_series_of_most_servers_agree(found: int, changes: bool) -> None:
    """Each alone is far from sure: its change has a p-value of a hundredth."""
    night = [
        replace(each, change=changed(1.15, TONIGHT, 1) if int(each.server[-1]) < found else None)
        for server in range(5)
        for each in [Fleet(f"server-{server}", Direction.LOWER, points(slower(1 if server < 3 else 0, seed=server)))]
    ]
    assert machine({}, night).changed is changes


def test_of_two_servers_it_takes_both() -> None:
    assert machine({}, fleet_of(2, 2)).changed


def test_one_server_cannot_tell_itself_from_the_machine() -> None:
    assert fleet_series(fleet_of(1, 1), POLICY) == ()


def test_a_server_counts_once_however_many_series_it_has() -> None:
    many = [Fleet("big", Direction.LOWER, points(slower(seed=at))) for at in range(30)]
    assert not machine({}, [*many, *fleet_of(3, 0, each=1)]).changed


def test_throughput_that_falls_and_latency_that_rises_are_one_slowdown() -> None:
    fleet = [
        Fleet("a", Direction.HIGHER, points(levels((35, 100.0), (5, 85.0), seed=1))),
        Fleet("b", Direction.LOWER, points(slower(seed=2))),
    ]
    assert fleet_series(fleet, POLICY)[-1].value > 1.1
    assert machine({}, fleet).changed


def test_doubted_nights_are_no_part_of_the_fleet() -> None:
    wild = [*steady(1)[:-1], 1000.0]
    fleet = [Fleet(name, Direction.LOWER, points(wild, doubted=[39])) for name in ("a", "b", "c")]
    assert [point.night for point in fleet_series(fleet, POLICY)] == NIGHTS[:-1]


SLOW_MACHINE = Machine(
    (Move("a matrix product", CPU, changed(1.2)), Move("a copy of memory", CPU, changed(1.1))),
    {night: ago for ago, night in enumerate(reversed(NIGHTS))},
)


def test_it_explains_what_moved_with_it() -> None:
    assert SLOW_MACHINE.explains(changed(1.25, "night-36"), Direction.LOWER, 0.03)
    assert SLOW_MACHINE.explains(changed(0.8, "night-33"), Direction.HIGHER, 0.03)


@pytest.mark.parametrize(
    "change",
    [changed(2.0), changed(0.8), changed(1.2, "night-28"), changed(1.2, "unknown", nights=9)],
    ids=["far", "faster", "older", "older by its own count"],
)
def test_it_does_not_explain_what_is_out_of_proportion_the_other_way_or_older(change: Change) -> None:
    assert not SLOW_MACHINE.explains(change, Direction.LOWER, 0.03)


def test_a_machine_that_did_not_change_explains_nothing() -> None:
    assert not Machine().explains(changed(1.2), Direction.LOWER, 0.03)


@pytest.mark.parametrize(("nights", "news"), [(1, True), (3, True), (4, False)])
def test_what_has_lasted_is_no_news(nights: int, news: bool) -> None:
    assert Machine((Move(FLEET, "", changed(1.2, nights=nights)),)).news is news


def test_without_the_fleet_what_canaries_saw_is_left() -> None:
    both = Machine((*SLOW_MACHINE.moves, Move(FLEET, "", changed(1.2))), SLOW_MACHINE.order)
    assert both.by_canaries == SLOW_MACHINE
