"""Ports are free, in range, and given to one at a time."""

import socket

import pytest

from launch.ports import check_port_range, is_free, reserve
from nightbench.errors import DeploymentError, UsageError


def free_range(size: int) -> tuple[int, int]:
    """A range of ports that are all free now."""
    for first in range(21000, 30000, size):
        if all(is_free(port) for port in range(first, first + size)):
            return first, first + size - 1
    raise AssertionError("this machine has no free ports")


def test_any_free_ports() -> None:
    with reserve(3) as ports, reserve(3) as more:
        assert len({*ports, *more}) == 6
        assert all(is_free(port) for port in (*ports, *more))


def test_none_are_needed_by_a_server_without_ports() -> None:
    with reserve(0) as ports, reserve(0, (21000, 21000)) as ranged:
        assert ports == ranged == ()


def test_range_is_kept_and_returned() -> None:
    within = free_range(3)
    first, last = within
    with reserve(2, within) as one:
        with reserve(1, within) as two:
            assert sorted((*one, *two)) == list(range(first, last + 1))
            with pytest.raises(DeploymentError, match=f"no_port: 0 of the ports {first}-{last} are free, but 1 is"):
                reserve(1, within).__enter__()
        check_port_range(within, 1)
    check_port_range(within, 3)


def test_a_port_rests_between_uses() -> None:
    within = free_range(3)
    given = []
    for _ in range(6):
        with reserve(1, within) as (port,):
            given.append(port)
    assert given[:3] == given[3:] == list(range(within[0], within[1] + 1))


def test_range_in_use_is_told_beforehand() -> None:
    first, last = free_range(2)
    with socket.create_server(("127.0.0.1", first)):
        check_port_range((first, last), 1)
        with pytest.raises(UsageError) as caught:
            check_port_range((first, last), 2)
    assert str(caught.value) == (
        f"environment: NIGHTBENCH_SERVER_PORTS: 1 of the ports {first}-{last} is free, but 2 are needed; "
        "end what listens there, or give a wider range"
    )


def test_no_range_is_always_enough() -> None:
    check_port_range(None, 1000)
