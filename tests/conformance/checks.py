"""How a test says which check it is, and which servers and protocols it is made for."""

from collections.abc import Callable

import pytest

from nightbench.server import Protocol, ServerSpec

COLUMNS: list[str] = []
"""The checks in the order in which their tests were read."""


def check(name: str) -> pytest.MarkDecorator:
    """The column of the matrix that a test, or one parameter of it, fills."""
    if name not in COLUMNS:
        COLUMNS.append(name)
    return pytest.mark.check(name)


def of(servers: Callable[[ServerSpec], bool]) -> pytest.MarkDecorator:
    """A test that is made for some servers only."""
    return pytest.mark.servers(servers)


def over(protocols: Callable[[Protocol], bool]) -> pytest.MarkDecorator:
    """A test that is made for some protocols only."""
    return pytest.mark.protocols(protocols)


processes = of(lambda spec: not spec.in_process)
"""Asked of what is a process: the load engine hosts the others itself."""
