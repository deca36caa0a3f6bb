"""What may become of an alert, and how far alerts can be believed."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from nightbench.errors import UsageError
from nightbench.judge.alert import Alert, AlertKind, AlertState, Finding
from nightbench.judge.life import AlertPrecision, check_person, wilson

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FINDING = Finding(AlertKind.REGRESSION, "triton", "triton is slower", "")


def _alert(state: AlertState) -> Alert:
    return Alert(7, "nightly", FINDING, state, "a", NOW, "b", 2, None if state.live else NOW, "because")


@pytest.mark.parametrize("state", AlertState)
def test_a_person_closes_what_is_open_and_may_change_their_mind_but_never_opens_again(state: AlertState) -> None:
    allowed = set()
    for to in AlertState:
        with suppress(UsageError):
            check_person(_alert(state), to, "so it is")
            allowed.add(to)
    assert AlertState.OPEN not in allowed
    assert allowed - {AlertState.ACKNOWLEDGED} == {AlertState.RESOLVED, AlertState.FALSE} - (
        {state} & {AlertState.FALSE}
    )
    assert (AlertState.ACKNOWLEDGED in allowed) == (state is AlertState.OPEN)


def test_a_refusal_repeats_what_was_said_before() -> None:
    with pytest.raises(UsageError, match="alert 7: is acknowledged already: because"):
        check_person(_alert(AlertState.ACKNOWLEDGED), AlertState.ACKNOWLEDGED, "so it is")


@pytest.mark.parametrize("why", ["", " \n"])
def test_a_reason_is_asked_for(why: str) -> None:
    with pytest.raises(UsageError, match="--why"):
        check_person(_alert(AlertState.OPEN), AlertState.FALSE, why)


@given(st.integers(1, 10**6).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_the_interval_is_wilsons(counts: tuple[int, int]) -> None:
    share = wilson(*counts)
    theirs = binomtest(*counts).proportion_ci(method="wilson")
    assert (share.low, share.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9, abs=1e-12)
    assert share.low is not None
    assert share.high is not None
    assert 0.0 <= share.low <= share.value <= share.high <= 1.0


def test_without_judgements_nothing_is_said_of_precision() -> None:
    assert AlertPrecision(90, 12, 0, 0).share is None
    known = AlertPrecision(90, 12, 4, 1)
    assert (known.true, known.share) == (3, wilson(3, 4))
