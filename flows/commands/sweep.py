"""`nightbench sweep`."""

import json as jsonlib
import math
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.console import open_console
from flows.sweep_view import LiveView, print_sweep
from loadgen.dialects import DIALECTS, Dialect, DialectName
from loadgen.job import Pacing
from loadgen.payload import DISTINCT, Payload, drawn_bodies, drawn_tensors, file_body, npz_tensors
from loadgen.sweep import Sweep, run_sweep
from loadgen.target import Target
from nightbench.errors import UsageError
from nightbench.load import Arrival, ClosedLoop, Load, OpenLoop

__all__ = ["sweep"]

_DESCRIPTORS_KEPT = 64
"""For everything in the engine that is no connection."""
_ROOMY_CPUS = 4
"""From here on a processor that only spins is one the server does not miss."""


def sweep(
    url: str,
    /,
    *,
    protocol: DialectName = "raw-http",
    model: str = "",
    path: str | None = None,
    body_bytes: int | None = None,
    input: Path | None = None,  # noqa: A002 - the option's name
    input_spec: Annotated[list[str] | None, Parameter(negative=())] = None,
    batch: int | None = None,
    distinct: int | None = None,
    closed: int | None = None,
    open: float | None = None,  # noqa: A002 - the option's name
    arrival: Arrival | None = None,
    pacing: Pacing | None = None,
    duration: float | None = None,
    requests: int | None = None,
    warmup: float | None = None,
    timeout: float = 10.0,
    seed: int = 0,
    json: Path | None = None,
    allow_remote: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Load a server that is running already, whatever it serves, and say how it did.

    Parameters
    ----------
    url
        `http://HOST:PORT[/PATH]` or `HOST:PORT`.
    protocol
        How it is asked.
    model
        The model's name, where the protocol has one.
    path
        Where requests go, if not to the protocol's own path or that of the URL.
    body_bytes
        Send random bodies of this size (for `json` a document of random letters).
    input
        Send the tensors of an `.npz`, or any other file as it is.
    input_spec
        Send random tensors: `NAME:DTYPE:SHAPE`, batch axis first, such as `image:FP32:1x3x224x224`. Repeatable.
    batch
        Items of an `.npz` in one request; by default 1.
    distinct
        How many random inputs take turns; by default 16. With 1 a cache can answer: the difference is what it hides.
    closed
        Keep this many requests in flight.
    open
        Send this many requests a second, whatever becomes of them.
    arrival
        Spacing of an open loop; by default poisson.
    pacing
        How an open loop waits for its next request: spin is on time and uses up a processor. By default spin where
        four processors or more may be used.
    duration
        Seconds to measure, after the warm-up.
    requests
        Stop after this many requests, warm-up included.
    warmup
        Seconds that are cut at least; by default a fifth of --duration, at most 2.
    timeout
        Seconds until a request is given up.
    seed
        Seeds random inputs and arrivals.
    json
        Write the figures here.
    allow_remote
        Let the load go to another machine.
    """
    dialect = DIALECTS[protocol]
    target = Target.parse(url)
    load = _load(closed, open, arrival, pacing)
    _positive("--duration", duration)
    _positive("--requests", requests)
    _positive("--timeout", timeout)
    if duration is None and requests is None:
        raise UsageError("sweep: nothing says when to end; add --duration SECONDS or --requests N")
    if warmup is not None and not (0 <= warmup < math.inf):
        raise UsageError(f"--warmup: {warmup:g} is wrong; it should be 0 or more seconds")
    if seed < 0:
        raise UsageError(f"--seed: {seed} is wrong; it should be 0 or more")
    _check_writable(json)
    _positive("--distinct", distinct)
    payload = _payload(dialect, protocol, body_bytes, input, input_spec, batch, distinct, seed)
    wanted = Sweep(
        protocol=protocol,
        endpoint=dialect.endpoint(target, path, model, payload),
        payload=payload,
        load=load,
        duration_s=duration,
        max_requests=requests,
        warmup_s=warmup if warmup is not None else min(2.0, (duration or 0.0) / 5),
        timeout_s=timeout,
        seed=seed,
        pacing=pacing or _pacing(),
    )
    wanted.check()
    host = target.reach(allow_remote=allow_remote)
    wanted = replace(wanted, endpoint=replace(wanted.endpoint, host=host))
    console = open_console()
    with LiveView(console, wanted) as view:
        swept = run_sweep(wanted, should_stop=view.tick, on_start=view.begin)
    print_sweep(console, swept)
    if json is not None:
        try:
            json.write_text(jsonlib.dumps(swept.report(), indent=2, allow_nan=False) + "\n")
        except OSError as error:
            raise UsageError(f"--json: {json} cannot be written: {error.strerror}") from error
        console.print(f"figures: {json}", soft_wrap=True, markup=False)
    sys.exit(1 if swept.nothing_succeeded else 0)


def _pacing() -> Pacing:
    """On time where that takes nothing from the server."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return Pacing.SPIN if usable >= _ROOMY_CPUS else Pacing.SLEEP


def _positive(option: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise UsageError(f"{option}: {value:g} is wrong; it should be greater than 0")


def _load(closed: int | None, rate_rps: float | None, arrival: Arrival | None, pacing: Pacing | None) -> Load:
    _positive("--closed", closed)
    _positive("--open", rate_rps)
    if closed is not None and rate_rps is not None:
        raise UsageError("--closed and --open ask different questions; give one of them")
    if closed is not None:
        if arrival is not None:
            raise UsageError("--arrival: a closed loop has no arrivals of its own; leave it out or use --open")
        if pacing is not None:
            raise UsageError("--pacing: a closed loop waits for nothing but answers; leave it out or use --open")
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _DESCRIPTORS_KEPT
        if closed > most:
            raise UsageError(
                f"--closed: {closed} is more than the {most} connections this shell may open; see ulimit -n"
            )
        return ClosedLoop(closed)
    if rate_rps is not None:
        return OpenLoop(rate_rps, arrival or Arrival.POISSON)
    raise UsageError("sweep: the load is missing; add --closed CONCURRENCY or --open RPS")


def _payload(
    dialect: Dialect,
    name: DialectName,
    body_bytes: int | None,
    file: Path | None,
    specs: list[str] | None,
    batch: int | None,
    distinct: int | None,
    seed: int,
) -> Payload:
    if sum(given is not None for given in (body_bytes, file, specs)) != 1:
        offered = "--body-bytes N, --input FILE" if dialect.drawn else "--input FILE"
        raise UsageError(
            f"sweep: what to send is not one thing; give one of {offered} or --input-spec NAME:DTYPE:SHAPE"
        )
    tensors = file is not None and file.suffix == ".npz"
    if batch is not None and not tensors:
        raise UsageError("--batch: only an .npz of --input is cut into batches; leave it out")
    if distinct is not None and file is not None:
        raise UsageError("--distinct: a file is sent as it is; leave it out or give --body-bytes or --input-spec")
    count = DISTINCT if distinct is None else distinct
    if body_bytes is not None:
        if not dialect.drawn:
            raise UsageError(
                f"--body-bytes: {name} carries tensors; give --input-spec NAME:DTYPE:SHAPE or --input FILE"
            )
        return drawn_bodies(body_bytes, seed, json=dialect.json, distinct=count)
    if specs is not None:
        return drawn_tensors(specs, seed, distinct=count)
    if file is None:
        raise UsageError("--input: the file is missing")
    if tensors:
        return npz_tensors(file, 1 if batch is None else batch)
    if dialect.path is None:
        raise UsageError(f"--input: {name} carries tensors, and {file} is no .npz; give one or --input-spec")
    return file_body(file)


def _check_writable(json: Path | None) -> None:
    """A result that has nowhere to go is noticed before the load, not after it."""
    if json is None:
        return
    if json.is_dir() or not os.access(json if json.exists() else json.parent, os.W_OK):
        raise UsageError(f"--json: {json} cannot be written; name a file in a folder that exists and is yours")
