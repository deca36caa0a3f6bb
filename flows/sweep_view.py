"""What `nightbench sweep` shows while it runs: how far it is, and how it stands."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from dashboards.report.format import count, latency, number, rate
from loadgen.glimpse import Glimpse
from loadgen.sweep import Sweep, Swept
from nightbench.load import Search

__all__ = ["LiveView"]


class LiveView:
    """One line on a terminal, drawn only when `tick` or `show` is called; nothing elsewhere.

    What it shows is read from memory that the load engine shares: the engine is never asked, for an answer would cost
    the time that is being measured.
    """

    def __init__(self, console: Console, sweep: Sweep) -> None:
        self._sweep = sweep
        self._console = console
        self._sending = False
        # A number of requests is no time: the bar then shows that it is alive, and no share.
        self._total = None if sweep.duration_s is None else sweep.warmup_s + sweep.duration_s
        self._bar = Progress(
            BarColumn(bar_width=32),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            # No thread of its own: it would wake while requests are timed.
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("calibrating the client", total=None)

    def __enter__(self) -> "LiveView":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, _engine_pid: int) -> None:
        """The engine was started."""
        self._sending = False
        self._draw(0.0, "starting the load engine")

    def tick(self) -> bool:
        """Draw while there is nothing to see; a `should_stop` that never stops."""
        if not self._sending and not self._bar.disable:
            self._bar.refresh()
        return False

    def show(self, glimpse: Glimpse) -> None:
        """Requests are being sent."""
        self._sending = True
        whole = "" if self._total is None else f" of {self._total:.0f}"
        parts = [f"{self._phase(glimpse.elapsed_s)}, {glimpse.elapsed_s:.0f}{whole} s"]
        parts += [f"{number(glimpse.recent_rps, 0)} rps", f"{count(glimpse.in_flight)} in flight"]
        if glimpse.recent_p50_ns is not None and glimpse.recent_p99_ns is not None:
            parts.append(f"p50 {glimpse.recent_p50_ns / 1e6:.2f} ms, p99 {glimpse.recent_p99_ns / 1e6:.2f} ms")
        if glimpse.failed:
            parts.append(f"{count(glimpse.failed)} failed")
        self._draw(glimpse.elapsed_s, " · ".join(parts))

    def step(self, swept: Swept) -> None:
        """A search tried a load."""
        assessed = swept.assessed
        p99 = latency(assessed.latency_ns.get("p99"))
        self._console.print(
            f"{swept.load.label}: {rate(assessed.throughput_rps)}, p99 {p99.value} {p99.unit} {p99.interval}"
            + (f", {count(swept.failed)} failed" if swept.failed else ""),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def audit(self) -> None:
        """What follows is the cache audit."""
        self._sending = False
        self._draw(0.0, "auditing for a cache")

    def _phase(self, elapsed_s: float) -> str:
        if elapsed_s < self._sweep.warmup_s:
            return "warming up"
        if self._total is None or elapsed_s < self._total:
            return "searching" if isinstance(self._sweep.load, Search) else "measuring"
        return "waiting for the last answers"

    def _draw(self, elapsed_s: float, words: str) -> None:
        if not self._bar.disable:
            self._bar.update(self._task, total=self._total, completed=elapsed_s, description=words, refresh=True)
