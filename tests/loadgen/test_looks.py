"""When a run is ended early, and on what evidence."""

from collections.abc import Callable

import numpy as np
import pytest

from loadgen.job import Job
from loadgen.looks import Looks
from loadgen.recorder import Recorder
from loadgen.schedule import STOP_LEAD_NS
from nightbench.load import ClosedLoop, EndedBy, OpenLoop
from nightbench.precision import Precision, first_look_s, next_look_s
from nightbench.samples import Outcome

JobMaker = Callable[..., Job]
MS = 1_000_000
S = 1000 * MS
START = 100 * S


def filled(intended_ms: list[int], pending: tuple[int, ...] = (), failed: tuple[int, ...] = ()) -> Recorder:
    """Rows whose latency in milliseconds is their number, but for those that are pending or failed."""
    recorder = Recorder.create(len(intended_ms))
    recorder.schedule(np.array(intended_ms, np.int64) * MS)
    recorder.begin(START)
    recorder.close()
    for row, due in enumerate(recorder.samples().intended_ns.tolist()):
        if row not in pending:
            recorder.outcome[row] = Outcome.TIMEOUT if row in failed else Outcome.OK
            recorder.done_ns[row] = due + row * MS
    return recorder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], list[int]]]:
    """What was asked about precision, in milliseconds; it is never reached."""
    seen: list[tuple[list[int], list[int]]] = []

    def ask(latency_ns: np.ndarray, before_ns: np.ndarray, _: Precision) -> bool:
        seen.append(((latency_ns // MS).tolist(), (before_ns // MS).tolist()))
        return False

    monkeypatch.setattr("loadgen.looks.reached", ask)
    return seen


def closed(job: JobMaker, **fields: object) -> Job:
    return job(1, load=ClosedLoop(2), precision=Precision(), duration_s=60.0, **fields)


def test_precision_is_asked_about_successes_by_time_after_the_warm_up(job: JobMaker, asked) -> None:
    recorder = filled([0, 100, 200, 300, 400, 500], failed=(3,))
    Looks(closed(job, min_warmup_s=0.15), [recorder]).look(START + 10 * S)
    assert asked == [([2, 4, 5], [0, 1])]


def test_what_was_sent_after_something_unanswered_is_not_looked_at(job: JobMaker, asked) -> None:
    """Row 3 may turn out to be the slowest: the quick ones after it must not speak for it."""
    Looks(closed(job), [filled([0, 100, 200, 300, 400], pending=(3,))]).look(START + 10 * S)
    assert asked == [([0, 1, 2], [])]


def test_the_shares_rows_are_looked_at_in_one_order(job: JobMaker, asked) -> None:
    shares = [filled([0, 200, 400]), filled([100, 300, 500], pending=(2,))]
    Looks(closed(job), shares).look(START + 10 * S)
    assert asked == [([0, 0, 1, 1, 2], [])]


def test_looks_come_when_they_are_due_and_stop_with_the_run(job: JobMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, True])
    monkeypatch.setattr("loadgen.looks.reached", lambda *_: next(answers))
    shares = [filled([0, 100]), filled([50])]
    looks = Looks(closed(job, min_warmup_s=2.0), shares)
    first_s = first_look_s(2.0)
    looks.look(START + round((first_s - 0.01) * S))
    looks.look(START + round(first_s * S))
    second_s = next_look_s(first_s, 2.0)
    looks.look(START + round((second_s - 0.01) * S))
    assert [share.stop for share in shares] == [None, None]
    at_ns = START + round((second_s + 0.01) * S)
    looks.look(at_ns)
    looks.look(at_ns + 100 * S)
    stops = [share.stop for share in shares]
    assert stops[0] == stops[1]
    assert stops[0] is not None
    assert (stops[0].cause, stops[0].at_ns) == (EndedBy.PRECISION, at_ns + STOP_LEAD_NS)


def test_a_hopeless_open_loop_is_stopped_with_its_reason(job: JobMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def judge(due_ns: np.ndarray, done_ns: np.ndarray, start_ns: int, now_ns: int) -> str:
        seen.append((((due_ns - START) // MS).tolist(), done_ns.tolist(), start_ns, now_ns))
        return "the backlog only grows"

    monkeypatch.setattr("loadgen.looks.over_saturated", judge)
    now_ns = START + 10 * S
    # Pending, timed out, and due later: none of them was served.
    shares = [filled([0, 200, 20_000], pending=(1,)), filled([100, 300], failed=(1,))]
    looks = Looks(job(1, load=OpenLoop(10.0), duration_s=60.0, workers=2), shares)
    looks.look(now_ns)
    assert seen == [([0, 100, 200, 300], [START, START + 100 * MS, 0, 0], START, now_ns)]
    assert looks.why == "the backlog only grows"
    assert [share.stop.cause for share in shares if share.stop] == [EndedBy.OVER_SATURATED] * 2


def test_a_backlog_for_want_of_connections_is_not_the_servers(job: JobMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.looks.over_saturated", lambda *_: "the backlog only grows")
    shares = [filled([0, 200]), filled([100, 300])]
    shares[1].lacks_connections()
    Looks(job(1, load=OpenLoop(10.0), duration_s=60.0, workers=2), shares).look(START + 10 * S)
    assert [share.stop for share in shares] == [None, None]


@pytest.mark.parametrize("fields", [{"load": ClosedLoop(2)}, {"load": OpenLoop(5.0), "stop_over_saturated": False}])
def test_without_reason_to_look_nothing_is_looked_at(job: JobMaker, monkeypatch, fields: dict) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("loadgen.looks.over_saturated", never)
    monkeypatch.setattr("loadgen.looks.reached", never)
    Looks(job(1, **fields), [filled([0])]).look(START + 50 * S)
