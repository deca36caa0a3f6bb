"""The figures of a sweep as its result file holds them; docs/loadgen.md explains each key."""

from collections.abc import Mapping
from typing import Any

from loadgen.sweep import Swept
from nightbench.assess import LAG_QUANTILES
from nightbench.figures import Doubt, Estimate, SearchFigures, StreamFigures
from nightbench.load import OpenLoop

__all__ = ["report"]

SCHEMA_VERSION = 2
_NS_PER_S = 1e9
_NS_PER_MS = 1e6
_NS_PER_US = 1e3
_NAMES = ("p50", "p90", "p95", "p99", "p999")


def report(swept: Swept) -> dict[str, Any]:
    """The figures as JSON takes them. A figure that the samples cannot carry is null, and so is a bound."""
    sweep, assessed, endpoint = swept.sweep, swept.assessed, swept.sweep.endpoint
    cpu_ns = assessed.client_cpu_ns_per_request
    return {
        "schema_version": SCHEMA_VERSION,
        "started_at": swept.started_at.isoformat(),
        "target": f"{endpoint.host}:{endpoint.port}",
        "path": endpoint.path or None,
        "protocol": sweep.protocol,
        "model": endpoint.model or None,
        "load": swept.load.label,
        "workers": sweep.workers,
        "request_bytes": sweep.payload.request_bytes,
        "seed": sweep.seed,
        "warmup_s": assessed.warmup_ns / _NS_PER_S,
        "measured_s": assessed.measured_ns / _NS_PER_S,
        "ended_by": swept.result.ended_by.value,
        "why": swept.result.why or None,
        "requests": swept.result.requests,
        "throughput_rps": assessed.throughput_rps.value,
        "offered_rps": assessed.offered_rps,
        "ok": swept.ok,
        "failed": swept.failed,
        "outcomes": dict(assessed.counts),
        "latency_ms": _points(swept.latency_ns),
        "service_ms": _points(swept.service_ns),
        "send_lag_us": {name: value / _NS_PER_US for name, value in swept.lag_ns.items()}
        or dict.fromkeys(LAG_QUANTILES),
        "pacing": sweep.pacing.value if isinstance(swept.load, OpenLoop) else None,
        "hiccups_us": {name: value / _NS_PER_US for name, value in swept.result.hiccups_ns.items()} or None,
        "client_cpu_us_per_request": None if cpu_ns is None else cpu_ns / _NS_PER_US,
        "intervals": {
            "confidence": 0.95,
            "throughput_rps": _bounds(assessed.throughput_rps),
            "latency_ms": _all_bounds(swept.latency_ns),
            "service_ms": _all_bounds(swept.service_ns),
        },
        "stream": _stream(swept.stream),
        "search": _search(swept.search),
        "calibration": _calibration(swept),
        "cache_audit": _audit(swept),
        "doubts": [_doubt(doubt) for doubt in swept.doubts],
        "first_failure": swept.result.detail or None,
    }


def _doubt(doubt: Doubt) -> dict[str, Any]:
    return {"reason": doubt.reason.value, "detail": doubt.detail, "figures": list(doubt.figures)}


def _stream(stream: StreamFigures | None) -> dict[str, Any] | None:
    if stream is None:
        return None
    goodput = stream.goodput_rps
    return {
        "ttft_ms": _points(stream.ttft_ns),
        "itl_ms": _points(stream.itl_ns),
        "tokens": stream.tokens,
        "tokens_per_s": stream.tokens_per_s.value,
        "goodput_rps": None if goodput is None else goodput.value,
        "slo": dict(stream.slo),
        "intervals": {
            "ttft_ms": _all_bounds(stream.ttft_ns),
            "itl_ms": _all_bounds(stream.itl_ns),
            "tokens_per_s": _bounds(stream.tokens_per_s),
            "goodput_rps": None if goodput is None else _bounds(goodput),
        },
    }


def _search(search: SearchFigures | None) -> dict[str, Any] | None:
    if search is None:
        return None
    return {
        "answer_rps": search.answer_rps.value,
        "interval": _bounds(search.answer_rps),
        "chosen": search.chosen,
        "detail": search.detail,
        "steps": [
            {
                "load": step.load.label,
                "throughput_rps": step.throughput_rps.value,
                "latency_ms": _points(step.latency_ns),
                "failed": step.failed,
                "ended_by": step.ended_by.value,
                "doubts": [doubt.reason.value for doubt in step.doubts],
            }
            for step in search.steps
        ],
    }


def _calibration(swept: Swept) -> dict[str, Any] | None:
    found = swept.calibration
    if found is None:
        return None
    return {
        "ceiling_rps": found.ceiling_rps.value,
        "ceiling_by": found.ceiling_by,
        "ceiling_share": swept.assessed.ceiling_share,
        "floor_ms": _points(found.floor_ns),
        "client_cpu_us_per_request": found.client_cpu_ns_per_request / _NS_PER_US,
    }


def _audit(swept: Swept) -> dict[str, Any] | None:
    audit = swept.audit
    if audit is None:
        return None
    return {
        "verdict": audit.verdict,
        "ratio": None if audit.ratio is None else audit.ratio.value,
        "interval": None if audit.ratio is None else _bounds(audit.ratio),
        "detail": audit.detail,
    }


def _points(found: Mapping[str, Estimate]) -> dict[str, float | None]:
    return {name: found[name].value / _NS_PER_MS if name in found else None for name in _NAMES}


def _all_bounds(found: Mapping[str, Estimate]) -> dict[str, list[float | None] | None]:
    return {name: _bounds(found[name], _NS_PER_MS) if name in found else None for name in _NAMES}


def _bounds(estimate: Estimate, unit: float = 1.0) -> list[float | None]:
    return [None if bound is None else bound / unit for bound in (estimate.low, estimate.high)]
