"""The figures of a sweep on a terminal, then every reason to doubt them."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from dashboards.report.doubts import title
from dashboards.report.format import NOTHING, Shown, count, latency, number, rate, share
from loadgen.sweep import Swept
from nightbench.figures import Estimate, StreamFigures
from nightbench.load import EndedBy

__all__ = ["print_sweep"]

_QUANTILES = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p999": "p99.9"}
_ENDS = {
    EndedBy.DURATION: "the time was over",
    EndedBy.REQUESTS: "all requests asked for were sent",
    EndedBy.PRECISION: "the figures were as precise as asked",
    EndedBy.OVER_SATURATED: "the server fell behind for good",
    EndedBy.ROWS: "there was no room for more requests",
}


def print_sweep(console: Console, swept: Swept) -> None:
    """The figures of the measured window."""
    assessed, sweep = swept.assessed, swept.sweep

    def say(words: str, style: str = "") -> None:
        console.print(words, style=style, markup=False, highlight=False, soft_wrap=True)

    say(
        f"{sweep.protocol} at {sweep.endpoint.host}:{sweep.endpoint.port}{sweep.endpoint.path}, "
        f"{swept.load.label}, {count(sweep.payload.request_bytes)} bytes a request",
        "bold",
    )
    if swept.search is not None:
        say(f"{sweep.load.label}: {rate(swept.search.answer_rps)}, {swept.search.detail}")
    say(
        f"{assessed.measured_ns / 1e9:.2f} s measured after {assessed.warmup_ns / 1e9:.2f} s of warm-up, until "
        f"{_ENDS[swept.result.ended_by]}; figures with 95 % intervals"
    )
    console.print(_rates(swept))
    if swept.latency_ns:
        console.print(_quantiles({"latency": swept.latency_ns, "service": swept.service_ns}))
    if swept.stream is not None and swept.stream.ttft_ns:
        console.print(_quantiles({"first token": swept.stream.ttft_ns, "between tokens": swept.stream.itl_ns}))
    for doubt in swept.doubts:
        where = f"{' '.join(doubt.figures)}: " if doubt.figures else ""
        say(f"doubt: {where}{title(doubt.reason)}: {doubt.detail}", "yellow")
    if swept.audit is not None:
        say(f"cache audit: {swept.audit.verdict}: {swept.audit.detail}")
    if swept.result.why:
        say(f"ended early: {swept.result.why}")
    if swept.result.detail:
        say(f"first failure: {swept.result.detail}")


def _rates(swept: Swept) -> Table:
    assessed = swept.assessed
    drawn = Table(show_header=False)
    drawn.add_column(style="bold")
    drawn.add_column()
    drawn.add_row("throughput", str(rate(assessed.throughput_rps)))
    if assessed.offered_rps is not None:
        drawn.add_row("offered", f"{number(assessed.offered_rps, 1)} rps")
    total = swept.ok + swept.failed
    outcomes = ", ".join(f"{name} {count(found)}" for name, found in assessed.counts.items())
    drawn.add_row("outcomes", outcomes or "nothing was due in the measured window")
    drawn.add_row("failed", f"{count(swept.failed)} ({share(swept.failed, total)})")
    if swept.lag_ns:
        lag = ", ".join(f"{_QUANTILES[name]} {number(value / 1e3, 1)} µs" for name, value in swept.lag_ns.items())
        drawn.add_row("send lag", lag)
    if swept.stream is not None:
        _add_stream(drawn, swept.stream)
    cpu_ns = assessed.client_cpu_ns_per_request
    drawn.add_row("client CPU", NOTHING if cpu_ns is None else f"{number(cpu_ns / 1e3, 1)} µs a request")
    if swept.calibration is not None:
        found = swept.calibration
        reached = NOTHING if assessed.ceiling_share is None else f"{assessed.ceiling_share:.0%} of it was reached"
        floor = latency(found.floor_ns.get("p50"))
        drawn.add_row("client's ceiling", f"{number(found.ceiling_rps.value, 0)} rps; {reached}")
        drawn.add_row("client's floor", f"{floor.value} {floor.unit}".strip())
    return drawn


def _add_stream(drawn: Table, stream: StreamFigures) -> None:
    drawn.add_row("tokens", f"{count(stream.tokens)}, {str(rate(stream.tokens_per_s)).replace('rps', 'a second')}")
    if stream.goodput_rps is not None:
        bounds = ", ".join(f"{name.removesuffix('_ms')} {value:g} ms" for name, value in stream.slo.items())
        drawn.add_row("goodput", f"{rate(stream.goodput_rps)} within {bounds}")


def _quantiles(columns: Mapping[str, Mapping[str, Estimate]]) -> Table:
    drawn = Table("", header_style="bold")
    for name in columns:
        drawn.add_column(name, justify="right")
        drawn.add_column("")
    for name, shown in _QUANTILES.items():
        cells: list[str] = []
        for figures in columns.values():
            value = latency(figures.get(name))
            cells += [_value(value), value.interval]
        if name != "p999" or any(name in figures for figures in columns.values()):
            drawn.add_row(shown, *cells)
    return drawn


def _value(shown: Shown) -> str:
    return f"{shown.value} {shown.unit}".strip()
