"""Delta debugging over factors, with an oracle that may not know."""

import math
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbench.judge.bisect import Oracle, minimal

NAMES = [f"package {letter}" for letter in "abcdefghijklmnop"]


class Asked:
    """Slow where all of ``culprits`` are in; not to be told where ``blurred`` says so."""

    def __init__(self, culprits: Collection[str], blurred: Collection[frozenset[str]] = ()) -> None:
        self.culprits, self.blurred = frozenset(culprits), blurred
        self.asked: list[frozenset[str]] = []

    def __call__(self, factors: frozenset[str]) -> bool | None:
        self.asked.append(factors)
        return None if factors in self.blurred else self.culprits <= factors


@pytest.mark.parametrize("culprit", NAMES)
def test_one_culprit_is_found_in_few_tests(culprit: str) -> None:
    oracle = Asked([culprit])
    found = minimal(NAMES, oracle)
    assert found.culprits == (culprit,)
    assert found.certain
    assert found.tests == len(oracle.asked) <= 1 + 2 * math.log2(len(NAMES))


@given(st.sets(st.sampled_from(NAMES), min_size=1), st.integers(1, len(NAMES)))
def test_what_is_found_is_slow_and_none_of_it_can_be_left_out(culprits: set[str], count: int) -> None:
    names = NAMES[:count]
    oracle = Asked(culprits)
    found = minimal(names, oracle)
    assert set(found.culprits) == (culprits if culprits <= set(names) else set())
    assert len(oracle.asked) == len(set(oracle.asked)), "no mixture is deployed twice"


@given(st.lists(st.sampled_from([True, False, None]), min_size=200, max_size=200))
def test_whatever_is_answered_it_ends_with_what_was_said_to_be_slow(answers: list[bool | None]) -> None:
    coming, said = iter(answers), dict[frozenset[str], bool | None]()

    def oracle(factors: frozenset[str]) -> bool | None:
        said[factors] = next(coming)
        return said[factors]

    found = minimal(NAMES[:6], oracle)
    assert found.tests == len(said)
    assert said[frozenset(found.culprits)] is True if found.culprits else said[frozenset(NAMES[:6])] is not True


def test_nothing_is_found_where_all_together_are_fast_or_cannot_be_told() -> None:
    assert minimal(NAMES, lambda _: False).culprits == ()
    unsure = minimal(NAMES, lambda _: None)
    assert (unsure.culprits, unsure.tests, unsure.unsure) == ((), 1, (frozenset(NAMES),))
    assert minimal([], lambda _: True).tests == 0


def test_a_mixture_that_cannot_be_told_leaves_the_set_larger_and_says_so() -> None:
    names = ["package a", "package b", "code"]
    oracle: Oracle = Asked(["package a"], [frozenset(["package a"])])
    found = minimal(names, oracle)
    assert set(found.culprits) > {"package a"}
    assert not found.certain


def test_it_stops_when_its_time_is_over() -> None:
    oracle = Asked(["package a"])
    found = minimal(NAMES, oracle, spent=lambda: len(oracle.asked) >= 3)
    assert len(oracle.asked) == 3
    assert "package a" in found.culprits
