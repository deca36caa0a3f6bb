"""What `nightbench sweep` shows: how far it is while it runs, and its figures when it is over."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from dashboards.report.doubts import title
from dashboards.report.format import NOTHING, Shown, count, latency, number, rate, share
from loadgen.sweep import Sweep, Swept

__all__ = ["LiveView", "print_sweep"]

_QUANTILES = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p999": "p99.9"}


class LiveView:
    """The phase and the time by this process's clock, drawn only when `tick` is called.

    The engine is never asked: an answer would cost the time that is being measured. Nothing is drawn unless the
    console is a terminal.
    """

    def __init__(self, console: Console, sweep: Sweep) -> None:
        self._warmup_s = sweep.warmup_s
        self._sending_s = sweep.sending_s
        self._began: float | None = None
        self._bar = Progress(
            BarColumn(bar_width=32),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            # No thread of its own: it would wake while requests are timed.
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        # A number of requests is no time: the bar then shows that it is alive, and no share.
        self._total = self._sending_s if sweep.duration_s is not None else None
        self._task = self._bar.add_task("starting the load engine", total=self._total)

    def __enter__(self) -> "LiveView":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, _engine_pid: int) -> None:
        """The engine was started."""
        self._began = time.monotonic()

    def tick(self) -> bool:
        """Draw; a `should_stop` that never stops."""
        if self._began is not None and not self._bar.disable:
            passed_s = time.monotonic() - self._began
            self._bar.update(self._task, completed=passed_s, description=self._phase(passed_s), refresh=True)
        return False

    def _phase(self, passed_s: float) -> str:
        if passed_s < self._warmup_s:
            name = "warming up"
        elif passed_s < self._sending_s:
            name = "measuring"
        else:
            name = "waiting for the last answers"
        whole = "" if self._total is None else f" of {self._total:.0f}"
        return f"{name}, {passed_s:.0f}{whole} s"


def print_sweep(console: Console, swept: Swept) -> None:
    """The figures of the measured window, then every reason to doubt them."""
    assessed, sweep = swept.assessed, swept.sweep
    console.print(
        f"{sweep.protocol} at {sweep.endpoint.host}:{sweep.endpoint.port}{sweep.endpoint.path}, "
        f"{sweep.load.label}, {count(sweep.payload.request_bytes)} bytes a request",
        style="bold",
        markup=False,
        soft_wrap=True,
    )
    console.print(
        f"{assessed.measured_ns / 1e9:.2f} s measured after {assessed.warmup_ns / 1e9:.2f} s of warm-up; "
        "figures with 95 % intervals"
    )
    console.print(_rates(swept))
    if swept.latency_ns:
        console.print(_quantiles(swept))
    for doubt in assessed.doubts:
        where = f"{' '.join(doubt.figures)}: " if doubt.figures else ""
        console.print(
            f"doubt: {where}{title(doubt.reason)}: {doubt.detail}", markup=False, style="yellow", soft_wrap=True
        )
    if swept.result.detail:
        console.print(f"first failure: {swept.result.detail}", markup=False, soft_wrap=True)


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
    cpu_ns = assessed.client_cpu_ns_per_request
    drawn.add_row("client CPU", NOTHING if cpu_ns is None else f"{number(cpu_ns / 1e3, 1)} µs a request")
    return drawn


def _quantiles(swept: Swept) -> Table:
    drawn = Table("", "latency", "", "service", "", header_style="bold")
    for column in (1, 3):
        drawn.columns[column].justify = "right"
    for name, shown in _QUANTILES.items():
        whole, own = latency(swept.latency_ns.get(name)), latency(swept.service_ns.get(name))
        drawn.add_row(shown, _value(whole), whole.interval, _value(own), own.interval)
    return drawn


def _value(shown: Shown) -> str:
    return f"{shown.value} {shown.unit}".strip()
