"""What a container costs: `python -m benchmarks.containers`, where a Docker engine answers.

The same server, packages, model, processor and load, as a process and as a container, in shuffled order within each
repetition. A container is measured twice: at its own address on the bridge, as nights do it, and through the port that
Docker publishes on loopback. Differences are taken within a repetition, so that the machine's drift is in both sides;
intervals are Student's t over repetitions, whose deployments are the replicates.

Then the limits: what two spinning processes get of a processor, and what becomes of a server that outgrows its memory.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.containers.limits import say_limits
from benchmarks.machine import Cpus
from export.isolated import Prepared, prepare
from flows.registry import load_catalog
from launch.docker import DockerLauncher
from launch.engine import Engine, engine
from launch.environment import Environment, ensure_environment
from launch.images import ensure_image
from launch.ports import LOOPBACK
from launch.process import ProcessLauncher
from launch.request import LaunchRequest
from loadgen.job import Job
from loadgen.probe import PoolProber
from loadgen.run import run_job
from nightbench.load import ClosedLoop
from nightbench.model import ModelSpec, Precision
from nightbench.samples import Samples
from nightbench.server import Deployment, Endpoint, Limits, ServerSpec
from nightbench.settings import Settings
from nightbench.stats.distributions import student_t_quantile
from servers.container import PYTHON, SITE_PACKAGES

_PROCESS, _DIRECT, _PUBLISHED = "process", "container", "container, published port"
_WARMUP_SHARE = 0.25
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one deployment, reached one way; times in microseconds."""

    p50_us: float
    p99_us: float
    rps: float
    client_cpu_us: float
    """Of the load engine, a request."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every deployment shares."""

    spec: ServerSpec
    model: ModelSpec
    prepared: Prepared
    environments: Mapping[str, Environment]
    engine: Engine
    cpus: Cpus
    folder: Path
    concurrency: int
    seconds: float

    @contextmanager
    def deployed(self, kind: str, number: int) -> Iterator[Deployment]:
        request = LaunchRequest(
            spec=self.spec,
            model=self.model,
            artifact=self.prepared.artifact,
            options={},
            threads=1,
            limits=Limits(self.cpus.server, 4 * _GIB),
            environment=self.environments[kind],
            run_id="benchmark",
            deployment_id=f"{kind}-{number}",
            log_path=self.folder / f"{kind}-{number}.log",
        )
        launcher = ProcessLauncher() if kind == _PROCESS else DockerLauncher(self.engine)
        model = self.model
        prober = PoolProber(self.prepared.pool, model.inputs, model.outputs, model.tolerance)
        with launcher.launch(request, prober) as deployment:
            yield deployment

    def figures(self, endpoint: Endpoint) -> Figures:
        samples = self.folder / "samples.npz"
        result = run_job(
            Job(
                endpoint=endpoint,
                load=ClosedLoop(self.concurrency),
                batch=1,
                inputs=self.model.inputs,
                outputs=self.model.outputs,
                pool=self.prepared.pool.path,
                tolerance=self.model.tolerance,
                duration_s=self.seconds,
                samples=samples,
                cpus=self.cpus.client,
            )
        )
        if result.error is not None or result.wrong:
            raise RuntimeError(result.error or result.detail)
        taken = Samples.load(samples)
        begin_ns = result.started_ns + int(_WARMUP_SHARE * (result.ended_ns - result.started_ns))
        kept = taken.sent_ns >= begin_ns
        service_us = (taken.done_ns[kept] - taken.sent_ns[kept]) / 1e3
        p50_us, p99_us = np.quantile(service_us, [0.5, 0.99])
        rps = len(service_us) / ((result.ended_ns - begin_ns) * 1e-9)
        return Figures(float(p50_us), float(p99_us), rps, result.client_cpu_ns / result.requests / 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.containers", description=__doc__)
    parser.add_argument("--server", default="fastapi", help="one that has a Dockerfile (default: fastapi)")
    parser.add_argument("--model", default="tiny_cnn", help="a small one hides least (default: tiny_cnn)")
    parser.add_argument("--repetitions", type=int, default=7, help="deployments of each kind (default: 7)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load, of which a quarter is cut (default: 5)")
    parser.add_argument("--concurrency", type=int, default=1, help="requests at a time (default: 1)")
    options = parser.parse_args()
    settings, cpus, found = Settings.from_environment(), Cpus.split(), engine()
    for line in machine.describe(cpus):
        print(line)
    print(f"Docker {found.version}; {options.server}, {options.model}, concurrency {options.concurrency}")
    catalog = load_catalog(settings)
    spec, model = catalog.servers[options.server], catalog.models[options.model]
    with tempfile.TemporaryDirectory(prefix="nightbench-containers-") as name:
        folder = Path(name)
        form = next(each for each in spec.formats if each in model.formats)
        weights, log = model.default_weights, folder / "export.log"
        prepared = prepare(model, form, Precision.FP32, weights, settings.artifacts, 16, (1,), log=log)
        environments = {_PROCESS: _host(spec, settings, folder), _DIRECT: _image(spec, settings, found, folder)}
        bench = Bench(spec, model, prepared, environments, found, cpus, folder, options.concurrency, options.seconds)
        _report(bench, options.repetitions)
        say_limits(found, cpus, folder)
    print(f"load average at the end {machine.load_average()}")


def _host(spec: ServerSpec, settings: Settings, folder: Path) -> Environment:
    log = folder / "environment.log"
    return ensure_environment(spec, settings.server_environments, "pinned", print, log)


def _image(spec: ServerSpec, settings: Settings, found: Engine, folder: Path) -> Environment:
    image = ensure_image(spec, found.url, folder / "image.log", print, base=settings.image_base)
    return Environment(PYTHON, SITE_PACKAGES, image.digest, "", image.built, 0, image.ref, image.digest)


def _report(bench: Bench, repetitions: int) -> None:
    measured: dict[str, list[Figures]] = defaultdict(list)
    cold_s: dict[str, list[float]] = defaultdict(list)
    gone_s: dict[str, list[float]] = defaultdict(list)
    shuffle = random.Random(1)  # noqa: S311  (an order, not a secret)
    for number in range(repetitions):
        for kind in shuffle.sample([_PROCESS, _DIRECT], 2):
            with bench.deployed(kind, number) as deployment:
                cold_s[kind].append((deployment.cold_start_ns or 0) * 1e-9)
                endpoint = next(iter(deployment.endpoints.values()))
                ways = {kind: endpoint}
                if kind == _DIRECT:
                    ways[_PUBLISHED] = replace(endpoint, host=LOOPBACK)
                for way in shuffle.sample(list(ways), len(ways)):
                    measured[way].append(bench.figures(ways[way]))
                left = time.monotonic()
            gone_s[kind].append(time.monotonic() - left)
    print(f"\nmedian (smallest-largest) of {repetitions} deployments")
    for way, figures in measured.items():
        print(
            f"  {way:26} p50 {machine.spread([each.p50_us for each in figures], 0)} µs, "
            f"p99 {machine.spread([each.p99_us for each in figures], 0)} µs, "
            f"{machine.spread([each.rps for each in figures], 0)} requests/s, "
            f"client {machine.spread([each.client_cpu_us for each in figures], 0)} µs of processor each"
        )
    for kind in (_PROCESS, _DIRECT):
        cold, gone = machine.spread(cold_s[kind], 2), machine.spread(gone_s[kind], 2)
        print(f"  {kind:26} cold start {cold} s, gone in {gone} s")
    print("difference from the process, mean with a 95 % interval")
    for way in (_DIRECT, _PUBLISHED):
        pairs = list(zip(measured[way], measured[_PROCESS], strict=True))
        print(
            f"  {way:26} p50 {_mean([a.p50_us - b.p50_us for a, b in pairs], 0)} µs, "
            f"p99 {_mean([a.p99_us - b.p99_us for a, b in pairs], 0)} µs, "
            f"throughput {_mean([100 * (a.rps / b.rps - 1) for a, b in pairs], 1)} %"
        )
    starts = [a - b for a, b in zip(cold_s[_DIRECT], cold_s[_PROCESS], strict=True)]
    print(f"  {_DIRECT:26} cold start {_mean(starts, 2)} s")


def _mean(values: Sequence[float], digits: int) -> str:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:+.{digits}f}"
    half = student_t_quantile(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:+.{digits}f} [{mean - half:+.{digits}f}, {mean + half:+.{digits}f}]"


if __name__ == "__main__":
    main()
