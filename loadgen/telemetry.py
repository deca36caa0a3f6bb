"""What the machine does while a cell is measured, sampled by a thread of the orchestrating process.

Never used by the load engine itself, whose interpreter has nothing else to do than send and receive.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from threading import Event, Thread
from types import TracebackType

from loadgen.sources import counters, triton
from loadgen.sources.cgroup import Container, CpuThrottle
from loadgen.sources.energy import ENERGY_COUNTER, energy
from loadgen.sources.nvidia import NvidiaGpus
from loadgen.sources.processes import MachineCpu, ProcessTree, Usage
from loadgen.sources.prometheus import Metric, scrape
from loadgen.sources.trend import slope_per_s
from nightbench.errors import UsageError
from nightbench.figures import Series
from nightbench.witness import Served

__all__ = ["Telemetry"]

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000

_Points = list[tuple[int, float]]
"""Monotonic nanoseconds and a value."""


class Telemetry:
    """Samples for as long as it is entered; `series` then cuts a window out.

    Sources and metrics: ``server`` and ``client`` have ``cpu_percent`` (100 is one processor), ``rss_bytes`` and
    ``threads``, each summed over their process trees; ``server`` has ``cpu_throttled_percent`` where its control group
    has a limit on processor time, and in a container what its group says of all that is in it,
    ``container_cpu_percent``, ``container_memory_bytes`` and ``container_oom_kills``; ``machine`` has
    ``foreign_cpu_percent``, all the processor time that was neither server's nor client's, our own included; ``gpu0``
    and so on have what NVML tells (`NvidiaGpus.read`).
    A processor figure is the mean over the interval that ends at its sample. A source that is not there, or no
    longer, has no samples rather than zeros. ``pid`` is ``None`` only where the client hosts the model itself.

    One value each, at a window's end: the server's ``rss_slope_bytes_per_s``, a GPU's ``energy_j`` with
    ``energy_valid`` (`loadgen.sources.energy.energy`), and Triton's counters as ``triton_*`` figures, these over the
    whole time entered and of ``model`` alone if it is given.
    """

    def __init__(
        self,
        pid: int | None,
        metrics_url: str | None,
        interval_s: float = 0.2,
        model: str | None = None,
        *,
        contained: bool = False,
    ) -> None:
        """``contained``: ``pid`` is the first process of a container."""
        if not interval_s > 0.0:
            raise UsageError(f"telemetry: an interval of {interval_s:g} s is none; give one above zero, such as 0.2")
        self._metrics_url = metrics_url
        self._interval_s = interval_s
        self._model = model
        self._server = None if pid is None else ProcessTree(pid)
        self._throttle = None if pid is None else CpuThrottle(pid)
        self._container = Container(pid) if pid is not None and contained else None
        self._clients = ProcessTree()
        self._machine = MachineCpu()
        self._gpus: NvidiaGpus | None = None
        self._points: defaultdict[tuple[str, str], _Points] = defaultdict(list)
        """By source and metric."""
        self._sampled_ns = time.monotonic_ns()
        self._before: tuple[Metric, ...] = ()
        self._after: tuple[Metric, ...] = ()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="telemetry", daemon=True)

    def add_client(self, pid: int) -> None:
        """Watch one more process of the load engine, at any time. Foreign load is known from then on."""
        self._clients.add(pid)

    def __enter__(self) -> "Telemetry":
        self._gpus = NvidiaGpus()
        self._before = self._scrape()
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
        self._after = self._scrape()

    def series(self, start_ns: int, end_ns: int) -> tuple[Series, ...]:
        """The samples between two moments of the monotonic clock, which engine and orchestrator share, as offsets.

        Figures of one value stand at the window's end, Triton's once the block was left.
        """
        # Copies, because the thread may be adding.
        window = {
            key: [(at_ns, value) for at_ns, value in tuple(points) if start_ns <= at_ns <= end_ns]
            for key, points in sorted(dict(self._points).items())
        }
        sampled = [
            Series(
                source,
                metric,
                tuple(round((at_ns - start_ns) / _NS_PER_MS) for at_ns, _ in points),
                tuple(value for _, value in points),
            )
            for (source, metric), points in window.items()
            if points and metric != ENERGY_COUNTER
        ]
        end_ms = round((end_ns - start_ns) / _NS_PER_MS)
        single = [
            Series(source, metric, (end_ms,), (value,))
            for source, metric, value in self._figures(window, start_ns, end_ns)
        ]
        return (*sampled, *single)

    def served(self) -> Served | None:
        """How many requests the server says it served while this was entered; ``None`` where it does not say."""
        return counters.served(
            counters.requests(self._before, self._model), counters.requests(self._after, self._model)
        )

    def _figures(
        self, window: dict[tuple[str, str], _Points], start_ns: int, end_ns: int
    ) -> Iterator[tuple[str, str, float]]:
        slope = slope_per_s(window.get(("server", "rss_bytes"), []))
        if slope is not None:
            yield "server", "rss_slope_bytes_per_s", slope
        for (source, metric), points in window.items():
            if metric == ENERGY_COUNTER:
                power = window.get((source, "power_w"), [])
                for name, value in energy(points, power, start_ns, end_ns).items():
                    yield source, name, value
        told = triton.figures(triton.counters(self._before, self._model), triton.counters(self._after, self._model))
        for name, value in sorted(told.items()):
            yield "server", name, value

    def _scrape(self) -> tuple[Metric, ...]:
        return () if self._metrics_url is None else scrape(self._metrics_url)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._sample()

    def _baseline(self) -> None:
        """Start counting processor time."""
        self._machine.read()
        if self._server is not None:
            self._server.read()
        if self._container is not None:
            self._container.read()
        self._clients.read()
        self._sampled_ns = time.monotonic_ns()

    def _sample(self) -> None:
        now_ns = time.monotonic_ns()
        elapsed_s = (now_ns - self._sampled_ns) / _NS_PER_S
        self._sampled_ns = now_ns
        busy_s = self._machine.read()
        server = self._server.read() if self._server is not None else None
        client = self._clients.read()
        throttled_s = self._throttle.read() if self._throttle is not None else None
        held = self._container.read() if self._container is not None else None
        if elapsed_s <= 0:
            return
        self._add_usage("server", server, elapsed_s, now_ns)
        self._add_usage("client", client, elapsed_s, now_ns)
        if client is not None:
            ours_s = client.cpu_s + (server.cpu_s if server is not None else 0.0)
            foreign = 100 * max(0.0, busy_s - ours_s) / elapsed_s
            self._points["machine", "foreign_cpu_percent"].append((now_ns, foreign))
        if throttled_s is not None:
            self._add("cpu_throttled_percent", 100 * throttled_s / elapsed_s, now_ns)
        if held is not None:
            self._add("container_cpu_percent", 100 * held.cpu_s / elapsed_s, now_ns)
            self._add("container_memory_bytes", held.memory_bytes, now_ns)
            self._add("container_oom_kills", held.oom_kills, now_ns)
        if self._gpus is not None:
            ours = self._clients.pids | (self._server.pids if self._server is not None else frozenset())
            for gpu, metric, value in self._gpus.read(ours):
                self._points[gpu, metric].append((now_ns, value))

    def _add(self, metric: str, value: float, at_ns: int) -> None:
        """Of the server."""
        self._points["server", metric].append((at_ns, float(value)))

    def _add_usage(self, source: str, usage: Usage | None, elapsed_s: float, at_ns: int) -> None:
        if usage is None:
            return
        for metric, value in (
            ("cpu_percent", 100 * usage.cpu_s / elapsed_s),
            ("rss_bytes", float(usage.rss_bytes)),
            ("threads", float(usage.threads)),
        ):
            self._points[source, metric].append((at_ns, value))
