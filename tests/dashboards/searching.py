"""Records of a night that also searches, follows its peaks, streams, and calibrates its client."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np

from nightbench.figures import Doubt, Estimate, Reason, SearchFigures, SearchStep, StreamFigures
from nightbench.load import Arrival, ClosedLoop, EndedBy, Goal, Load, OpenLoop, PeakShare, Search, Step
from nightbench.record import CalibrationRecord, MeasurementRecord, Record, RunFinished
from nightbench.server import Protocol
from tests.dashboards.conftest import ROUNDS, RUN, START, night_records

PEAK, KNEE, SLO = Search(Goal.PEAK), Search(Goal.KNEE), Search(Goal.SLO, 40.0)
SHARE, BURSTS = PeakShare(0.7), OpenLoop(20.0, Arrival.GAMMA, 0.4)
CAPACITY = {"fastapi": 78.0, "onnxruntime": 196.0, "triton": 171.0}
FLOORS = {"p50": 1.0, "p99": 3.1}
SATURATED = Doubt(Reason.OVER_SATURATED, "the backlog grew by 41 requests a second")


def searching_records() -> Iterator[Record]:
    """onnxruntime finds the highest peak; fastapi's last search stays open; triton is over-saturated at its share."""
    draw = np.random.default_rng(3)
    records = list(night_records(("mobilenet_v2",)))
    yield from records[:-1]
    for record in records:
        if isinstance(record, MeasurementRecord) and record.case.load == OpenLoop(20):
            yield from _more(record, draw)
    yield from _calibrations(draw)
    last = records[-1]
    assert isinstance(last, RunFinished)
    yield last


def _more(plain: MeasurementRecord, draw: np.random.Generator) -> Iterator[MeasurementRecord]:
    server = plain.case.server
    if server in CAPACITY and plain.case.protocol is not Protocol.KSERVE_GRPC:
        capacity = CAPACITY[server] * float(draw.lognormal(0, 0.02))
        yield _searched(plain, PEAK, capacity)
        yield _searched(plain, KNEE, capacity)
        yield _searched(plain, SLO, capacity)
        saturated = server == "triton"
        yield replace(
            _as(plain, SHARE),
            offered_rps=0.7 * capacity,
            throughput_rps=Estimate(0.69 * capacity, 0.68 * capacity, 0.71 * capacity),
            ended_by=EndedBy.OVER_SATURATED if saturated else EndedBy.PRECISION,
            doubts=(SATURATED,) if saturated else (),
        )
        yield replace(_as(plain, BURSTS), ended_by=EndedBy.PRECISION)
    if server == "fastapi":
        yield from (_streamed(plain, load, draw) for load in (ClosedLoop(1), ClosedLoop(8)))


def _as(plain: MeasurementRecord, load: Load) -> MeasurementRecord:
    key = f"{plain.cell_id.partition('.')[0]}-{load.label}".replace(" ", "-").replace(".", "_")
    return replace(plain, cell_id=f"{key}.r{plain.round}", case=replace(plain.case, load=load), doubts=())


def _searched(plain: MeasurementRecord, search: Search, capacity: float) -> MeasurementRecord:
    loads: list[Step]
    if search.goal is Goal.SLO:
        loads = [ClosedLoop(8), *(OpenLoop(capacity * share) for share in (0.25, 0.5, 1.0, 0.75, 0.875, 0.8125))]
        chosen = 6
    else:
        loads = [ClosedLoop(2**at) for at in range(6)]
        chosen = 4 if search.goal is Goal.PEAK else 2
    steps = tuple(_step(load, capacity) for load in loads)
    answer = steps[chosen].throughput_rps
    open_ended = plain.case.server == "fastapi" and search.goal is Goal.SLO
    return replace(
        _as(plain, search),
        search=SearchFigures(
            steps,
            chosen,
            replace(answer, high=None) if open_ended else answer,
            "the highest rate that may be tried kept the bound"
            if open_ended
            else {
                Goal.PEAK: "c32 gave 0.4 % less than c16, within its interval",
                Goal.KNEE: "beyond c4 each doubling bought less throughput than it cost in latency",
                Goal.SLO: "the next rate that could be told apart broke the bound",
            }[search.goal],
        ),
        offered_rps=loads[chosen].size if search.goal is Goal.SLO else None,
        throughput_rps=answer,
        latency_ns=steps[chosen].latency_ns,
        doubts=(Doubt(Reason.SEARCH_OPEN, "every rate up to the client's ceiling kept the bound"),)
        if open_ended
        else (),
    )


def _step(load: Step, capacity: float) -> SearchStep:
    if isinstance(load, ClosedLoop):
        rate = capacity * load.concurrency / (load.concurrency + 1.6)
        delay_ms = 1e3 * load.concurrency / rate
        over = False
    else:
        busy = load.rate_rps / capacity
        over = busy >= 1.0
        rate = min(load.rate_rps, 0.97 * capacity)
        delay_ms = 900.0 if over else 1e3 / capacity / (1.02 - busy) ** 0.7
    latency = {
        name: delay_ms * factor * 1e6 for name, factor in (("p50", 0.9), ("p90", 1.4), ("p95", 1.7), ("p99", 2.6))
    }
    return SearchStep(
        load,
        Estimate(rate, 0.985 * rate, 1.015 * rate),
        {name: Estimate(value, 0.95 * value, 1.07 * value) for name, value in latency.items()},
        0,
        EndedBy.OVER_SATURATED if over else EndedBy.DURATION,
        (SATURATED,) if over else (),
    )


def _streamed(plain: MeasurementRecord, load: ClosedLoop, draw: np.random.Generator) -> MeasurementRecord:
    slower = load.concurrency**0.6 * float(draw.lognormal(0, 0.02))
    tokens = 41.0 * load.concurrency**0.5 / slower**0.1

    def around(value: float, spread: float = 0.03) -> Estimate:
        return Estimate(value, value * (1 - spread), value * (1 + spread))

    return replace(
        _as(plain, load),
        cell_id=f"smollm-{load.concurrency}.r{plain.round}",
        case=replace(plain.case, model="smollm", protocol=Protocol.OPENAI, load=load),
        offered_rps=None,
        throughput_rps=around(tokens / 64),
        latency_ns={"p50": around(1.6e9 * slower), "p95": around(1.9e9 * slower), "p99": around(2.1e9 * slower)},
        stream=StreamFigures(
            {"p50": around(8.2e7 * slower), "p90": around(1.1e8 * slower), "p99": around(1.9e8 * slower, 0.1)},
            {"p50": around(2.4e7 * slower), "p99": around(6.8e7 * slower, 0.2)},
            int(tokens * 20),
            around(tokens),
            around(tokens / 64 * (1.0 if load.concurrency == 1 else 0.62), 0.08),
            {"ttft_ms": 200.0, "itl_ms": 50.0},
        ),
    )


def _calibrations(draw: np.random.Generator) -> Iterator[CalibrationRecord]:
    kinds = [
        (Protocol.RAW_HTTP, "mobilenet_v2", 602_112, 4_000, 9_400.0, 88e3),
        (Protocol.KSERVE_HTTP, "mobilenet_v2", 602_300, 4_150, 9_100.0, 92e3),
        (Protocol.KSERVE_GRPC, "mobilenet_v2", 602_200, 4_080, 7_200.0, 117e3),
        (Protocol.OPENAI, "smollm", 412, 9_800, 21_000.0, 41e3),
    ]
    canary = (Protocol.OPAQUE_HTTP, "", 100, 100, 42_000.0, 21e3)
    for number in (0, *ROUNDS):
        for protocol, model, request, response, ceiling, floor in [canary] if number else [*kinds, canary]:
            luck = float(draw.lognormal(0, 0.015))
            refused = protocol is Protocol.KSERVE_GRPC
            yield CalibrationRecord(
                run_id=RUN,
                round=number,
                protocol=protocol,
                model=model,
                batch=1,
                request_bytes=request,
                response_bytes=response,
                started_at=START + timedelta(minutes=number),
                ceiling_rps=Estimate(0.0) if refused else Estimate(ceiling * luck, 0.97 * ceiling, 1.04 * ceiling),
                floor_ns={}
                if refused
                else {
                    name: Estimate(floor * luck * by, floor * by * 0.9, floor * by * 1.1) for name, by in FLOORS.items()
                },
                client_cpu_ns_per_request=0.0 if refused else 5.1e4 / luck,
                ceiling_by="server" if protocol is Protocol.OPENAI else "client",
                failure="the null server did not come up: <b>port taken</b>" if refused else None,
            )
