"""No message is sent twice, whatever fails or dies in between."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.notices import STALE
from db.store import Store
from nightbench.judge.notice import ATTEMPTS, NoticeState
from tests.db.conftest import DAWN

SLACK = "slack-webhook/ops"
MOMENT = timedelta(seconds=1)


def test_a_night_has_one_message_a_channel(store: Store) -> None:
    assert store.put_notice("night-1", SLACK, "2 regressions", "body\0")
    assert not store.put_notice("night-1", SLACK, "3 regressions", "body")
    assert store.put_notice("night-1", "email/ops", "2 regressions", "body")
    slack, email = store.claim_notices(DAWN)
    assert (slack.run_id, slack.channel, slack.subject, slack.body) == (
        *("night-1", SLACK),
        *("2 regressions", "body\ufffd"),
    )
    assert (slack.attempts, email.channel) == (1, "email/ops")
    store.settle_notice(slack.id, NoticeState.SENT, "", DAWN)
    assert not store.put_notice("night-1", SLACK, "2 regressions", "body"), "it has been sent"
    assert store.claim_notices(DAWN) == []


def test_what_surely_failed_is_tried_again_later_and_not_for_ever(store: Store) -> None:
    store.put_notice("night-1", SLACK, "subject", "body")
    now = DAWN
    for attempt in range(1, ATTEMPTS + 1):
        (notice,) = store.claim_notices(now)
        assert notice.attempts == attempt
        store.settle_notice(notice.id, NoticeState.WAITING, "refused", now)
        assert store.claim_notices(now) == []
        now += timedelta(days=2)
    assert store.claim_notices(now) == []
    (troubled,) = store.troubled_notices(DAWN)
    assert (troubled.state, troubled.error) == (NoticeState.FAILED, "refused")


def test_a_sender_that_died_leaves_a_message_that_nobody_sends(store: Store) -> None:
    store.put_notice("night-1", SLACK, "subject", "body")
    store.claim_notices(DAWN)
    assert store.claim_notices(DAWN + STALE - MOMENT) == []
    assert store.troubled_notices(DAWN) == []
    assert store.claim_notices(DAWN + STALE + MOMENT) == []
    (troubled,) = store.troubled_notices(DAWN)
    assert (troubled.state, troubled.error) == (
        NoticeState.UNKNOWN,
        "its sender ended before it was told what became of the message",
    )
    assert store.claim_notices(DAWN + timedelta(days=99)) == []


@pytest.mark.parametrize(
    ("late", "becomes"),
    [
        (NoticeState.SENT, None),
        (NoticeState.FAILED, NoticeState.FAILED),
        (NoticeState.UNKNOWN, NoticeState.UNKNOWN),
        # Another may believe that it left: it is not tried again.
        (NoticeState.WAITING, NoticeState.FAILED),
    ],
)
def test_a_sender_that_was_only_slow_may_still_say_what_happened(
    store: Store, late: NoticeState, becomes: NoticeState | None
) -> None:
    store.put_notice("night-1", SLACK, "subject", "body")
    (notice,) = store.claim_notices(DAWN)
    store.claim_notices(DAWN + 2 * STALE)
    store.settle_notice(notice.id, late, "late", DAWN + 3 * STALE)
    assert [each.state for each in store.troubled_notices(DAWN)] == ([becomes] if becomes else [])
    assert store.claim_notices(DAWN + timedelta(days=99)) == []


def test_what_is_settled_stays_settled(store: Store) -> None:
    store.put_notice("night-1", SLACK, "subject", "body")
    with pytest.raises(ValueError, match="claimed, not settled"):
        store.settle_notice(1, NoticeState.SENDING, "", DAWN)
    store.settle_notice(1, NoticeState.SENT, "", DAWN)
    (notice,) = store.claim_notices(DAWN)
    store.settle_notice(notice.id, NoticeState.SENT, "", DAWN)
    store.settle_notice(notice.id, NoticeState.WAITING, "no", DAWN)
    assert store.claim_notices(DAWN + timedelta(days=99)) == []
    assert store.troubled_notices(DAWN) == []


def test_addresses_lose_their_secrets(store: Store) -> None:
    store.put_notice("night-1", SLACK, "subject", "body")
    (notice,) = store.claim_notices(DAWN)
    error = "POST https://me:pa@ss@hooks.slack.com/services/T0/B0/secret?token=1 ('slack://tokenA/tokenB') answered 404"
    store.settle_notice(notice.id, NoticeState.FAILED, error, DAWN)
    (troubled,) = store.troubled_notices(DAWN - MOMENT)
    assert troubled.error == "POST https://... ('slack://...') answered 404"


def test_two_senders_at_once_share_the_messages(store: Store) -> None:
    for number in range(20):
        store.put_notice(f"night-{number}", SLACK, "subject", "body")
    with ThreadPoolExecutor(4) as pool:
        claimed = [notice.id for notices in pool.map(store.claim_notices, [DAWN] * 8) for notice in notices]
    assert sorted(claimed) == sorted(set(claimed))
    assert len(claimed) == 20


def test_a_sender_claims_as_many_as_it_asks_for_the_oldest_first(store: Store) -> None:
    for number in range(20):
        store.put_notice(f"night-{number}", SLACK, "subject", "body")
    with ThreadPoolExecutor(4) as pool:
        claimed = list(pool.map(lambda _: store.claim_notices(DAWN, 2), range(8)))
    assert [len(notices) for notices in claimed] == [2] * 8
    assert sorted(notice.id for notices in claimed for notice in notices) == list(range(1, 17))
    assert [notice.id for notice in store.claim_notices(DAWN)] == [17, 18, 19, 20]


class _Died(Exception):
    """The process is gone: nothing after this line happens."""


NIGHTS = count()
FATES = st.sampled_from(["sent", "refused", "silent", "dies before", "dies after"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rounds=st.lists(
        st.tuples(st.lists(FATES, min_size=3, max_size=3), st.sampled_from([1, 60, 700, 90_000])), max_size=8
    )
)
def test_whatever_fails_or_dies_no_message_is_sent_twice(store: Store, rounds: list[tuple[list[str], int]]) -> None:
    """Each round is a process: it writes the night's messages, and sends what is due until it dies."""
    night = f"any-{next(NIGHTS)}"
    left: Counter[str] = Counter()
    now = DAWN

    def process(fates: list[str]) -> None:
        for channel in "abc":
            store.put_notice(night, channel, "subject", "body")
        mine = [notice for notice in store.claim_notices(now) if notice.run_id == night]
        for notice, fate in zip(mine, fates, strict=False):
            if fate == "dies before":
                raise _Died
            # A silent receiver may have taken it.
            left[notice.channel] += fate != "refused"
            if fate == "dies after":
                raise _Died
            states = {"sent": NoticeState.SENT, "refused": NoticeState.WAITING, "silent": NoticeState.UNKNOWN}
            store.settle_notice(notice.id, states[fate], fate, now)

    for fates, seconds in rounds:
        with suppress(_Died):
            process(fates)
        now += timedelta(seconds=seconds)
    assert all(times <= 1 for times in left.values())
    # None is forgotten either: it left, or waits, or a person is shown that it did not.
    if rounds:
        now += timedelta(days=9)
        waiting = {notice.channel for notice in store.claim_notices(now) if notice.run_id == night}
        shown = {each.notice.channel for each in store.troubled_notices(DAWN) if each.notice.run_id == night}
        assert set(left) | waiting | shown == set("abc")
