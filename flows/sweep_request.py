"""From the options of `nightbench sweep` to what is asked of the load engine, or one sentence why not."""

import math
import os
import resource
from collections.abc import Callable
from pathlib import Path

from flows.sweep_options import Asked, Ending, Sending, Spacing
from loadgen.dialects import DIALECTS, Dialect
from loadgen.job import Pacing
from loadgen.payload import (
    DISTINCT,
    Payload,
    drawn_bodies,
    drawn_tensors,
    file_body,
    npz_tensors,
)
from loadgen.prompts import PROMPTS, USUAL_TOKENS, drawn_prompts, given_requests
from loadgen.sweep import Sweep
from loadgen.target import Target
from loadgen.trace import read_trace, trace_of
from nightbench.errors import UsageError
from nightbench.load import Arrival, ClosedLoop, Goal, OpenLoop, Precision, Search, Step
from nightbench.server import Protocol

__all__ = ["check_writable", "drawn_anew", "requested"]

_DESCRIPTORS_KEPT = 64
"""For everything in the engine that is no connection."""
_ROOMY_CPUS = 4
"""From here on a processor that only spins is one the server does not miss."""
_STEP_S = 5.0
"""Of a search, where nothing else was asked for."""
_TELLING_BYTES = 16
"""Of a body: even a JSON document then has more values than an audit sends."""
_TIMEOUT_S = 10.0
_LONG_TIMEOUT_S = 120.0
"""Answers that are written token by token take their time."""


def requested(url: str, sending: Sending, spacing: Spacing, ending: Ending, asked: Asked) -> Sweep:
    """What is asked for; `UsageError` where that makes no sense. Nothing was connected to yet."""
    dialect = DIALECTS[sending.protocol]
    target = Target.parse(url)
    load = _load(spacing)
    duration_s = ending.duration
    if isinstance(load, Search) and duration_s is None and ending.requests is None:
        duration_s = _STEP_S
    _positive("--duration", duration_s)
    _positive("--requests", ending.requests)
    _positive("--timeout", ending.timeout)
    _positive("--workers", spacing.workers)
    _check_machines(spacing, ending, target)
    if duration_s is None and ending.requests is None:
        raise UsageError("sweep: nothing says when to end; add --duration SECONDS or --requests N")
    if ending.warmup is not None and not (0 <= ending.warmup < math.inf):
        raise UsageError(f"--warmup: {ending.warmup:g} is wrong; it should be 0 or more seconds")
    if sending.seed < 0:
        raise UsageError(f"--seed: {sending.seed} is wrong; it should be 0 or more")
    senders = spacing.workers * spacing.machines
    if isinstance(load, ClosedLoop) and senders > load.concurrency:
        raise UsageError(f"--workers: {senders} cannot share {load.concurrency} requests in flight; ask for fewer")
    payload = _payload(dialect, sending, target)
    endpoint = dialect.endpoint(target, sending.path, sending.model, payload)
    wanted = Sweep(
        protocol=sending.protocol,
        endpoint=endpoint,
        payload=payload,
        load=load,
        duration_s=duration_s,
        max_requests=ending.requests,
        warmup_s=ending.warmup if ending.warmup is not None else min(2.0, (duration_s or 0.0) / 5),
        timeout_s=ending.timeout or (_LONG_TIMEOUT_S if dialect.tensors is Protocol.OPENAI else _TIMEOUT_S),
        seed=sending.seed,
        pacing=spacing.pacing or _pacing(),
        workers=spacing.workers,
        precision=_precision(ending.precision),
        slo=_slo(asked, endpoint.protocol),
    )
    wanted.check()
    return wanted


def check_writable(json: Path | None) -> None:
    """A result that has nowhere to go is noticed before the load, not after it."""
    if json is None:
        return
    if json.is_dir() or not os.access(json if json.exists() else json.parent, os.W_OK):
        raise UsageError(f"--json: {json} cannot be written; name a file in a folder that exists and is yours")


def _pacing() -> Pacing:
    """On time where that takes nothing from the server."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return Pacing.SPIN if usable >= _ROOMY_CPUS else Pacing.SLEEP


def _positive(option: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise UsageError(f"{option}: {value:g} is wrong; it should be greater than 0")


def _load(spacing: Spacing) -> Step | Search:
    _positive("--closed", spacing.closed)
    _positive("--open", spacing.open)
    opens = spacing.open is not None or spacing.trace is not None
    if (spacing.closed is not None) + opens + (spacing.search is not None) > 1:
        raise UsageError("--closed, --open and --search ask different questions; give one of them")
    if spacing.p99_ms is not None and spacing.search is not Goal.SLO:
        raise UsageError("--p99-ms: only a search for the rate that keeps it takes a bound; add --search slo")
    if spacing.closed is not None:
        _no_arrivals(spacing, "a closed loop")
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _DESCRIPTORS_KEPT
        if spacing.closed > most:
            raise UsageError(
                f"--closed: {spacing.closed} is more than the {most} connections this shell may open; see ulimit -n"
            )
        return ClosedLoop(spacing.closed)
    if spacing.search is not None:
        return _search(spacing, spacing.search)
    if spacing.trace is not None:
        return _traced(spacing, spacing.trace)
    if spacing.open is None:
        raise UsageError("sweep: the load is missing; add --closed CONCURRENCY, --open RPS or --search GOAL")
    return OpenLoop(spacing.open, spacing.arrival or Arrival.POISSON, _burstiness(spacing))


def _no_arrivals(spacing: Spacing, what: str) -> None:
    if spacing.arrival is not None:
        raise UsageError(f"--arrival: {what} has no arrivals of its own; leave it out or use --open")
    if spacing.burstiness is not None:
        raise UsageError(f"--burstiness: {what} has no arrivals of its own; leave it out or use --open")
    if spacing.pacing is not None:
        raise UsageError(f"--pacing: {what} waits for nothing but answers; leave it out or use --open")


def _burstiness(spacing: Spacing) -> float | None:
    _positive("--burstiness", spacing.burstiness)
    if (spacing.arrival is Arrival.GAMMA) != (spacing.burstiness is not None):
        raise UsageError("--burstiness: it is the shape of gamma arrivals; give both, --arrival gamma --burstiness 0.5")
    return spacing.burstiness


def _search(spacing: Spacing, goal: Goal) -> Search:
    if goal is not Goal.SLO:
        _no_arrivals(spacing, f"a search for the {goal}")
        return Search(goal)
    _positive("--p99-ms", spacing.p99_ms)
    if spacing.p99_ms is None:
        raise UsageError("--p99-ms: the bound that p99 of the latency shall keep is missing; add --p99-ms MILLISECONDS")
    return Search(goal, spacing.p99_ms, spacing.arrival or Arrival.POISSON, _burstiness(spacing))


def _traced(spacing: Spacing, path: Path) -> OpenLoop:
    if spacing.arrival is not None or spacing.burstiness is not None:
        raise UsageError("--trace: it says itself how requests are spaced; leave --arrival and --burstiness out")
    offsets_s = read_trace(path)
    own_rps = (len(offsets_s) - 1) / float(offsets_s[-1] - offsets_s[0])
    return OpenLoop(spacing.open or own_rps, Arrival.TRACE, trace=trace_of(path))


def _precision(text: str | None) -> Precision | None:
    if text is None:
        return None
    try:
        p50, p99 = (float(part) / 100.0 for part in text.split(","))
    except ValueError:
        p50 = p99 = math.nan
    if not (0 < p50 < 1 and 0 < p99 < 1):
        raise UsageError(
            f"--precision: {text!r} is wrong; write the half-widths of p50 and p99 in percent, such as 2,10"
        )
    return Precision(p50, p99)


def _slo(asked: Asked, protocol: Protocol) -> dict[str, float]:
    given = {"ttft_ms": asked.ttft_ms, "itl_ms": asked.itl_ms}
    found: dict[str, float] = {}
    for name, value in given.items():
        option = f"--{name.replace('_', '-')}"
        _positive(option, value)
        if value is not None:
            if protocol is not Protocol.OPENAI:
                raise UsageError(f"{option}: only streamed answers have tokens to wait for; add --protocol openai")
            found[name] = value
    return found


def _check_machines(spacing: Spacing, ending: Ending, target: Target) -> None:
    _positive("--machines", spacing.machines)
    if spacing.machines == 1:
        return
    if ending.requests is not None or ending.precision is not None:
        given = "--requests" if ending.precision is None else "--precision"
        raise UsageError(f"{given}: no machine of several sees the whole load and can end it; give --duration alone")
    if target.host in {"localhost", "::1"} or target.host.startswith("127."):
        raise UsageError(f"--machines: {target.host} is another server on each machine; give the server's own address")


def _payload(dialect: Dialect, sending: Sending, target: Target) -> Payload:
    given = (sending.body_bytes, sending.input, sending.input_spec, sending.prompt_tokens)
    if sum(one is not None for one in given) != 1:
        raise UsageError(f"sweep: what to send is not one thing; give one of {_offered(dialect)}")
    file = sending.input
    tensors = file is not None and file.suffix == ".npz"
    if sending.batch is not None and not tensors:
        raise UsageError("--batch: only an .npz of --input is cut into batches; leave it out")
    if sending.distinct is not None and file is not None:
        raise UsageError("--distinct: a file is sent as it is; leave it out or give --body-bytes or --input-spec")
    if sending.output_tokens is not None and sending.prompt_tokens is None:
        raise UsageError("--output-tokens: a file says itself how much it asks for; give --prompt-tokens with it")
    if file is not None:
        return _from_file(dialect, sending, file)
    usual = PROMPTS if sending.prompt_tokens is not None else DISTINCT
    distinct = usual if sending.distinct is None else sending.distinct
    return _drawn(dialect, sending, distinct, sending.seed, _chats(sending.path or target.path))


def _offered(dialect: Dialect) -> str:
    if dialect.tensors is Protocol.OPENAI:
        return "--prompt-tokens N or --input FILE"
    return ("--body-bytes N, " if dialect.drawn else "") + "--input FILE or --input-spec NAME:DTYPE:SHAPE"


def _from_file(dialect: Dialect, sending: Sending, file: Path) -> Payload:
    if file.suffix == ".npz":
        return npz_tensors(file, 1 if sending.batch is None else sending.batch)
    if dialect.tensors is Protocol.OPENAI:
        return given_requests(file)
    if dialect.path is None:
        raise UsageError(
            f"--input: {sending.protocol} carries tensors, and {file} is no .npz; give one or --input-spec"
        )
    return file_body(file)


def _drawn(dialect: Dialect, sending: Sending, distinct: int, seed: int, chats: bool) -> Payload:
    _positive("--distinct", distinct)
    _positive("--prompt-tokens", sending.prompt_tokens)
    _positive("--output-tokens", sending.output_tokens)
    if sending.body_bytes is not None:
        if not dialect.drawn:
            raise UsageError(f"--body-bytes: {sending.protocol} does not carry bare bytes; give {_offered(dialect)}")
        return drawn_bodies(sending.body_bytes, seed, json=dialect.json, distinct=distinct)
    if sending.prompt_tokens is not None:
        if dialect.tensors is not Protocol.OPENAI:
            raise UsageError(f"--prompt-tokens: {sending.protocol} carries no prompts; add --protocol openai")
        return drawn_prompts(
            sending.model,
            sending.prompt_tokens,
            sending.output_tokens or USUAL_TOKENS,
            seed,
            distinct,
            chat=chats,
        )
    if dialect.tensors is Protocol.OPENAI:
        raise UsageError(f"--input-spec: {sending.protocol} carries no tensors; give {_offered(dialect)}")
    return drawn_tensors(sending.input_spec or (), seed, distinct=distinct)


def _chats(path: str) -> bool:
    """Whether what answers there takes messages; ``/v1/completions`` takes a prompt."""
    path = path.partition("?")[0]
    return path.endswith("/chat/completions") or not path.endswith("/completions")


def drawn_anew(sending: Sending, path: str) -> Callable[[int, int], Payload]:
    """How a cache audit gets inputs for ``path`` that were never sent before: by seed and number.

    `UsageError` if a file was given.
    """
    if sending.input is not None:
        raise UsageError("--cache-audit: a file holds too few inputs to tell; give random ones, say --body-bytes N")
    if sending.body_bytes is not None and sending.body_bytes < _TELLING_BYTES:
        raise UsageError(
            f"--cache-audit: there are too few distinct bodies so small; give --body-bytes {_TELLING_BYTES}"
        )
    return lambda seed, distinct: _drawn(DIALECTS[sending.protocol], sending, distinct, seed, _chats(path))
