"""What a job may ask for, field by field."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from loadgen.check import check_job
from loadgen.job import Job
from loadgen.payload import drawn_bodies, drawn_tensors
from loadgen.prompts import drawn_prompts
from nightbench.errors import UsageError
from nightbench.load import Arrival, ClosedLoop, OpenLoop
from nightbench.precision import Precision
from nightbench.server import Endpoint, Protocol

JobMaker = Callable[..., Job]
POSITIVE = "a number greater than 0"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"load": ClosedLoop(0)}, "load.concurrency: 0 is wrong; it should be 1 or more"),
        *(
            ({"load": OpenLoop(rate)}, f"load.rate_rps: {rate} is wrong; it should be {POSITIVE}")
            for rate in (0.0, -3.0, math.inf, math.nan)
        ),
        *(
            (
                {"load": OpenLoop(1.0, Arrival.GAMMA, shape)},
                f"load.burstiness: {shape} is wrong; it should be {POSITIVE}",
            )
            for shape in (0.0, -1.0, math.nan)
        ),
        ({"batch": 0}, "batch: 0 is wrong; it should be 1 or more"),
        ({"duration_s": -1.0}, f"duration_s: -1.0 is wrong; it should be {POSITIVE}"),
        ({"timeout_s": 0.0}, f"timeout_s: 0.0 is wrong; it should be {POSITIVE}"),
        ({"timeout_s": math.inf}, f"timeout_s: inf is wrong; it should be {POSITIVE}"),
        ({"min_warmup_s": -0.5}, "min_warmup_s: -0.5 is wrong; it should be a number of 0 or more"),
        ({"max_requests": -1}, "max_requests: -1 is wrong; it should be 1 or more"),
        ({"verify_every": -1}, "verify_every: -1 is wrong; it should be 0 or more"),
        ({"seed": -1}, "seed: -1 is wrong; it should be 0 or more"),
        ({"cpus": ()}, "cpus: [] is wrong; it should be at least one processor"),
        ({"workers": 0}, "workers: 0 processes cannot send anything; give at least 1"),
        ({"precision": Precision(p99=0.0)}, f"precision.p99: 0.0 is wrong; it should be {POSITIVE}"),
        (
            {"endpoint": Endpoint(Protocol.IN_PROCESS, threads=0)},
            "endpoint.threads: 0 is wrong; it should be 1 or more",
        ),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(job: JobMaker, fields: dict, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_job(job(1, **fields))
    assert str(raised.value) == said


@pytest.mark.parametrize("port", [0, -1, 65_536, 70_000])
def test_a_port_that_there_is_not(job: JobMaker, port: int) -> None:
    with pytest.raises(UsageError, match=f"endpoint.port: {port} is wrong; it should be from 1 to 65535"):
        check_job(job(port))


def test_every_usual_job_is_one(job: JobMaker) -> None:
    usual = job(65_535, verify_every=0, max_requests=1, cpus=(0,), precision=Precision(p50=None))
    check_job(usual)
    check_job(replace(usual, load=OpenLoop(0.001, Arrival.GAMMA, 0.5), workers=3))
    check_job(replace(usual, endpoint=Endpoint(Protocol.IN_PROCESS)))


@pytest.mark.parametrize("distinct", [0, 100_001])
def test_inputs_are_drawn_in_reasonable_numbers(distinct: int) -> None:
    said = f"--distinct: {distinct} is wrong; it should be from 1 to 100000"
    for draw in (
        lambda: drawn_bodies(8, 0, json=False, distinct=distinct),
        lambda: drawn_tensors(["x:FP32:1x3"], 0, distinct=distinct),
        lambda: drawn_prompts("m", 2, 2, 0, distinct),
    ):
        with pytest.raises(UsageError, match=said):
            draw()
