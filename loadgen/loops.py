"""The two loops: what makes the next request due. They ask different questions; see `nightbench.load`.

Both end early when the caller asks for it, and return the window as it was in the end.
"""

from heapq import heappop, heappush

from loadgen.clock import now_ns
from loadgen.pacing import Pacer
from loadgen.recorder import Recorder, Stop
from loadgen.schedule import LOOK_NS, Window
from loadgen.traffic import Traffic
from nightbench.load import EndedBy
from nightbench.samples import Outcome

__all__ = ["run_closed", "run_open"]

_REST_NS = 10_000_000
_MAX_REST_DOUBLINGS = 6
_LOST = (Outcome.REFUSED, Outcome.RESET)


def run_closed(
    traffic: Traffic, recorder: Recorder, concurrency: int, window: Window, max_requests: int | None
) -> Window:
    """Keep ``concurrency`` requests in flight until the window's end; each answer brings the next request.

    A client whose connection was refused or reset rests before it tries again, longer while nothing succeeds,
    so that a dead server costs neither a processor nor millions of rows.
    """
    most = recorder.row_capacity if max_requests is None else min(max_requests, recorder.row_capacity)
    end_ns = window.end_ns
    resting: list[int] = []
    failures = 0
    wake = 0
    # Bound once: they run for every request.
    start, take = traffic.start, recorder.take

    def send_next() -> None:
        now = now_ns()
        if now < end_ns and recorder.rows < most:
            start(take(now), now)

    def on_end(outcome: Outcome, now: int) -> None:
        nonlocal failures, wake
        if outcome in _LOST:
            doublings = min(failures // concurrency, _MAX_REST_DOUBLINGS)
            failures += 1
            heappush(resting, now + (_REST_NS << doublings))
            wake = 0
        else:
            failures = 0
            send_next()

    traffic.on_end = on_end
    for _ in range(concurrency):
        send_next()
    while True:
        now = now_ns()
        if now >= wake or not traffic.in_flight:
            while resting and resting[0] <= now:
                heappop(resting)
                send_next()
            if now >= traffic.next_expiry_ns:
                traffic.expire(now)
            if (stop := recorder.stop) and stop.at_ns < end_ns:
                window = window.ended_by(stop)
                end_ns = window.end_ns
            if most and recorder.rows >= most:
                # Seen by the caller, who ends the other shares: what they send alone is not the load asked for.
                recorder.ask_to_stop(Stop(now, EndedBy.REQUESTS if most == max_requests else EndedBy.ROWS))
            over = now >= end_ns or recorder.rows >= most
            if now >= window.drained_ns or (over and not traffic.in_flight):
                return window
            wake = min(traffic.next_expiry_ns, window.drained_ns, now + LOOK_NS, *resting[:1])
        traffic.handle(traffic.poller.wait_about(wake, now))


def run_open(traffic: Traffic, recorder: Recorder, window: Window, pacer: Pacer) -> Window:
    """Send every row of ``recorder`` when it is due, whatever became of those before it.

    A row that finds all connections busy waits its turn, and the wait is part of its latency.

    A stop cuts the schedule: what is due after it never was. What is due before it is still sent, unless the server
    is hopelessly behind: that stays unsent.
    """
    due_ns = recorder.intended_ns
    rows = recorder.rows
    row = 0
    look = 0
    while True:
        now = now_ns()
        while row < rows and due_ns[row] <= now:
            if not traffic.has_room:
                recorder.lacks_connections()
                break
            traffic.start(row, now)
            row += 1
            now = now_ns()
        if now >= look:
            if now >= traffic.next_expiry_ns:
                traffic.expire(now)
            if (stop := recorder.stop) and stop.at_ns < window.end_ns:
                window = window.ended_by(stop)
                rows = recorder.cut(window.end_ns, row)
            if window.by is EndedBy.OVER_SATURATED and now >= window.end_ns:
                rows = row
            look = min(traffic.next_expiry_ns, now + LOOK_NS)
        if now >= window.drained_ns or (row == rows and not traffic.in_flight):
            return window
        wake = min(look, window.drained_ns)
        if row < rows and traffic.has_room:
            wake = min(wake, due_ns[row])
        traffic.handle(pacer.wait_until(wake))
