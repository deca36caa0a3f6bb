"""What a ceiling says of a cell, and what calibrations that were repeated say of the machine."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbench.calibration import MAX_CEILING_SHARE, MAX_MOVE, ceiling_share, client_ceiling, moved_rounds
from nightbench.figures import Estimate, Reason
from nightbench.record import CalibrationRecord, CanaryRecord
from nightbench.server import Protocol


def around(value: float, half: float = 0.02) -> Estimate:
    return Estimate(value, value * (1 - half), value * (1 + half))


def record(number: int, ceiling: float = 50_000.0, floor: float = 40_000.0, half: float = 0.02) -> CalibrationRecord:
    return CalibrationRecord(
        run_id="r",
        round=number,
        protocol=Protocol.RAW_HTTP,
        model="m",
        batch=1,
        request_bytes=100,
        response_bytes=100,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        ceiling_rps=around(ceiling, half),
        floor_ns={"p50": around(floor, half)},
        client_cpu_ns_per_request=8_000.0,
    )


def test_a_cell_near_the_clients_ceiling_is_doubted_as_a_whole() -> None:
    (doubt,) = client_ceiling(ceiling_share(40_000.0, 50_000.0))
    assert doubt.reason is Reason.CLIENT_CEILING
    assert doubt.whole_cell
    assert doubt.detail.startswith("the throughput is 80% of what the client itself reaches")


@pytest.mark.parametrize("share", [None, 0.0, 0.5, MAX_CEILING_SHARE])
def test_a_cell_below_it_is_not(share: float | None) -> None:
    assert list(client_ceiling(share)) == []


def test_a_ceiling_that_the_null_server_set_is_no_reason_to_doubt() -> None:
    assert list(client_ceiling(0.95, "server")) == []
    assert len(list(client_ceiling(0.95, "client"))) == 1


def test_no_ceiling_has_no_share() -> None:
    with pytest.raises(ValueError, match="is none"):
        ceiling_share(1.0, 0.0)


def test_a_steady_machine_moved_in_no_round() -> None:
    assert moved_rounds([]) == {}
    assert moved_rounds([record(0)]) == {}
    assert moved_rounds([record(0), record(1, ceiling=51_000.0), record(2, floor=39_000.0)]) == {}


@pytest.mark.parametrize(
    ("took_ns", "believed"),
    [((10e6, 10.8e6, 10e6), True), ((10e6, 10.1e6, 10e6), False), ((10e6, 9e6, 10e6), False), ((), True)],
)
def test_processor_time_alone_is_believed_if_fixed_work_took_longer_too(
    took_ns: tuple[float, ...], believed: bool
) -> None:
    """One noisy figure of the client's doubted every cell of a demo in which nothing had happened."""
    nights = [record(1), replace(record(2), client_cpu_ns_per_request=9_500.0), record(3)]
    work = [
        CanaryRecord("r", number, "matrix_product", "cpu", record(0).started_at, around(duration_ns))
        for number, duration_ns in enumerate(took_ns, start=1)
    ]
    assert list(moved_rounds(nights, work)) == ([2] if believed else [])


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (record(1, ceiling=30_000.0), "the client's throughput in round 1 was at least 39% below the night's median"),
        (record(1, floor=60_000.0), "the median service time in round 1 was at least 47% above the night's median"),
        (
            replace(record(1), client_cpu_ns_per_request=10_000.0),
            "the client's processor time a request in round 1 was at least 25% above the night's median",
        ),
    ],
)
def test_the_round_in_which_it_was_slower_is_named(odd: CalibrationRecord, words: str) -> None:
    moved = moved_rounds([record(0), odd, record(2)])
    assert list(moved) == [1]
    assert words in moved[1]
    assert moved[1].endswith("over 1 kind of requests: the machine was slower than in other rounds")


def test_a_round_in_which_it_was_faster_stands_apart_too() -> None:
    moved = moved_rounds([record(0), record(1), record(2, ceiling=80_000.0)])
    assert list(moved) == [2]
    assert "faster" in moved[2]


def test_two_rounds_that_differ_doubt_each_other() -> None:
    assert list(moved_rounds([record(0), record(1, ceiling=20_000.0)])) == [0, 1]


def test_a_wide_interval_is_no_move() -> None:
    assert moved_rounds([record(0), record(1, ceiling=40_000.0, half=0.2), record(2)]) == {}
    unbounded = replace(record(1), ceiling_rps=Estimate(10_000.0), floor_ns={})
    assert moved_rounds([record(0), unbounded, record(2)]) == {}


def test_trouble_during_one_calibration_of_several_is_none_of_the_machines() -> None:
    kinds = (Protocol.RAW_HTTP, Protocol.KSERVE_HTTP, Protocol.KSERVE_GRPC)
    calm = [replace(record(number), protocol=protocol) for number in range(3) for protocol in kinds]
    assert moved_rounds([*calm[1:], replace(calm[0], ceiling_rps=around(9_000.0))]) == {}
    slower = [replace(each, ceiling_rps=around(35_000.0)) if each.round == 2 else each for each in calm]
    moved = moved_rounds(slower)
    assert list(moved) == [2]
    assert "over 3 kinds of requests" in moved[2]


def test_a_failed_calibration_says_nothing() -> None:
    failed = replace(record(1, ceiling=1.0), failure="the null server is gone")
    assert moved_rounds([record(0), failed, record(2)]) == {}


@given(
    speeds=st.lists(st.floats(0.2, 5.0), min_size=1, max_size=8),
    costs=st.lists(st.floats(1e3, 1e6), min_size=1, max_size=4),
)
def test_what_kinds_cost_does_not_matter(speeds: list[float], costs: list[float]) -> None:
    """A machine of the same speed in every round moved in none, and the kinds' own sizes never count."""

    def night(rounds: list[float], kinds: list[float]) -> list[CalibrationRecord]:
        return [
            replace(record(number, 1e9 / cost * speed, cost / speed), request_bytes=size)
            for number, speed in enumerate(rounds)
            for size, cost in enumerate(kinds)
        ]

    assert moved_rounds(night([speeds[0]] * len(speeds), costs)) == {}
    moved = moved_rounds(night(speeds, costs))
    assert moved.keys() == moved_rounds(night(speeds, costs[:1])).keys()
    ordered = sorted(speeds)
    if ordered[-1] < ordered[0] * (1.0 + MAX_MOVE):
        assert moved == {}
