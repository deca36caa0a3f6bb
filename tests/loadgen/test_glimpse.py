"""What is seen of a run while it goes on."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadgen.glimpse import LiveView
from loadgen.recorder import Recorder
from nightbench.samples import Outcome

S = 1_000_000_000
START = 100 * S

ROW = st.tuples(
    st.integers(0, 3000),
    st.integers(0, 200),
    st.none() | st.integers(1, 3000),
    st.sampled_from([Outcome.OK, Outcome.OK, Outcome.TIMEOUT]),
)
"""Due at, sent after, answered after, and how; in milliseconds."""


def replay(recorder: Recorder, rows: list[tuple[int, int, int | None, Outcome]], now_ns: int) -> None:
    """Write what had happened by ``now_ns``, as an engine would have."""
    for row, (_, lag, took, outcome) in enumerate(rows):
        sent = recorder.intended_ns[row] + lag * 1_000_000
        if sent <= now_ns:
            recorder.sent_ns[row] = sent
        done = None if took is None else sent + took * 1_000_000
        if done is not None and done <= now_ns:
            recorder.outcome[row], recorder.done_ns[row] = outcome, done


@given(
    shares=st.lists(st.lists(ROW, max_size=25), min_size=1, max_size=3),
    looks=st.lists(st.integers(1, 5000), min_size=1, max_size=8),
)
def test_every_glimpse_is_what_a_count_of_everything_gives(
    shares: list[list[tuple[int, int, int | None, Outcome]]], looks: list[int]
) -> None:
    recorders = []
    for rows in shares:
        rows.sort(key=lambda row: row[0])
        recorder = Recorder.create(len(rows))
        recorder.schedule(np.array([due * 1_000_000 for due, *_ in rows], np.int64))
        recorder.begin(START)
        recorder.close()
        recorders.append(recorder)
    view = LiveView(recorders)
    for look in sorted(looks):
        now_ns = START + look * 1_000_000
        for recorder, rows in zip(recorders, shares, strict=True):
            replay(recorder, rows, now_ns)
        seen = view.glimpse(now_ns)
        all_rows = [recorder.samples() for recorder in recorders]
        done = sum(np.count_nonzero(rows.done_ns) for rows in all_rows)
        good = [rows.where((rows.done_ns > 0) & rows.ok) for rows in all_rows]
        latency = np.concatenate([rows.latency_ns[rows.done_ns > now_ns - S] for rows in good])
        assert (seen.answered, seen.ok) == (done, sum(map(len, good)))
        assert seen.failed == seen.answered - seen.ok
        assert seen.sent == sum(np.count_nonzero(rows.sent_ns) for rows in all_rows)
        assert seen.in_flight == seen.sent - seen.answered
        assert seen.elapsed_s == look / 1000
        assert seen.recent_rps == len(latency) / min(1.0, look / 1000)
        if len(latency):
            assert seen.recent_p50_ns == round(np.quantile(latency, 0.5))
            assert seen.recent_p99_ns == round(np.quantile(latency, 0.99))
        else:
            assert seen.recent_p50_ns is seen.recent_p99_ns is None


def test_before_the_first_request_is_due_nothing_is_seen() -> None:
    recorder = Recorder.create(3)
    recorder.begin(START)
    recorder.close()
    seen = LiveView([recorder]).glimpse(START - 1)
    assert (seen.elapsed_s, seen.sent, seen.answered, seen.in_flight, seen.recent_rps) == (0.0, 0, 0, 0, 0.0)
