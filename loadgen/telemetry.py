"""What the machine does while a cell is measured, sampled by a thread of the orchestrating process.

Never used by the load engine itself, whose interpreter has nothing else to do than send and receive.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType

from loadgen.sources import triton
from loadgen.sources.nvidia import NvidiaGpus
from loadgen.sources.processes import MachineCpu, ProcessTree, Usage
from nightbench.record import Series

__all__ = ["ClientPid", "Telemetry"]

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000

ClientPid = int | Callable[[], int | None] | None
"""The load engine's process, or how to ask for it once there is one."""


class Telemetry:
    """Samples for as long as it is entered; `series` then cuts a window out.

    Sources and metrics: ``server`` and ``client`` have ``cpu_percent`` (100 is one processor), ``rss_bytes`` and
    ``threads``, each summed over the process tree; ``machine`` has ``foreign_cpu_percent``, all the processor time
    that was neither server's nor client's, our own included; ``gpu0`` and so on have what NVML tells; ``server``
    also has Triton's counters as ``triton_*`` figures, one value each, over the whole time entered.
    A processor figure is the mean over the interval that ends at its sample. A source that is not there, or no
    longer, has no samples rather than zeros. ``pid`` is ``None`` only where the client hosts the model itself.
    """

    def __init__(
        self,
        pid: int | None,
        metrics_url: str | None,
        interval_s: float = 0.2,
        client_pid: ClientPid = None,
    ) -> None:
        self.client_pid = client_pid
        """May be set at any time; foreign load is known from then on."""
        self._metrics_url = metrics_url
        self._interval_s = interval_s
        self._server = None if pid is None else ProcessTree(pid)
        self._client: ProcessTree | None = None
        self._machine = MachineCpu()
        self._gpus: NvidiaGpus | None = None
        self._points: defaultdict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
        """Monotonic nanoseconds and a value, by source and metric."""
        self._sampled_ns = time.monotonic_ns()
        self._counters: dict[str, float] = {}
        self._figures: dict[str, float] = {}
        self._stop = Event()
        self._thread = Thread(target=self._run, name="telemetry", daemon=True)

    def __enter__(self) -> "Telemetry":
        self._gpus = NvidiaGpus()
        if self._metrics_url is not None:
            self._counters = triton.scrape(self._metrics_url)
        self._baseline()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._gpus is not None:
            self._gpus.close()
        if self._metrics_url is not None:
            self._figures = triton.figures(self._counters, triton.scrape(self._metrics_url))

    def series(self, start_ns: int, end_ns: int) -> tuple[Series, ...]:
        """The samples between two moments of the monotonic clock, which engine and orchestrator share, as offsets.

        Triton's figures are there once the block was left; they stand at the window's end.
        """
        found = []
        # Copies, because the thread may be adding.
        for (source, metric), points in sorted(dict(self._points).items()):
            window = [(at_ns, value) for at_ns, value in tuple(points) if start_ns <= at_ns <= end_ns]
            if window:
                offsets = tuple(round((at_ns - start_ns) / _NS_PER_MS) for at_ns, _ in window)
                found.append(Series(source, metric, offsets, tuple(value for _, value in window)))
        end_ms = round((end_ns - start_ns) / _NS_PER_MS)
        found += [Series("server", metric, (end_ms,), (value,)) for metric, value in sorted(self._figures.items())]
        return tuple(found)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._sample()

    def _baseline(self) -> None:
        """Start counting processor time."""
        self._machine.read()
        if self._server is not None:
            self._server.read()
        self._find_client()
        self._sampled_ns = time.monotonic_ns()

    def _sample(self) -> None:
        now_ns = time.monotonic_ns()
        elapsed_s = (now_ns - self._sampled_ns) / _NS_PER_S
        self._sampled_ns = now_ns
        busy_s = self._machine.read()
        server = self._server.read() if self._server is not None else None
        client = self._client.read() if self._client is not None else None
        self._find_client()
        if elapsed_s <= 0:
            return
        self._add_usage("server", server, elapsed_s, now_ns)
        self._add_usage("client", client, elapsed_s, now_ns)
        if client is not None:
            ours_s = client.cpu_s + (server.cpu_s if server is not None else 0.0)
            foreign = 100 * max(0.0, busy_s - ours_s) / elapsed_s
            self._points["machine", "foreign_cpu_percent"].append((now_ns, foreign))
        for gpu, metric, value in self._gpus.read() if self._gpus is not None else ():
            self._points[gpu, metric].append((now_ns, value))

    def _find_client(self) -> None:
        pid = self.client_pid() if callable(self.client_pid) else self.client_pid
        if pid is not None and (self._client is None or self._client.pid != pid):
            self._client = ProcessTree(pid)
            self._client.read()

    def _add_usage(self, source: str, usage: Usage | None, elapsed_s: float, at_ns: int) -> None:
        if usage is None:
            return
        for metric, value in (
            ("cpu_percent", 100 * usage.cpu_s / elapsed_s),
            ("rss_bytes", float(usage.rss_bytes)),
            ("threads", float(usage.threads)),
        ):
            self._points[source, metric].append((at_ns, value))
