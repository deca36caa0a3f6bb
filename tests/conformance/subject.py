"""One server under test: started by the real launcher, asked by the real load engine, on the real models."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil

from export import zoo
from export.isolated import Prepared, prepare
from launch.docker import DockerLauncher
from launch.environment import Environment, ensure_environment
from launch.process import LaunchRequest, ProcessLauncher
from launch.tree import Tree, of_deployment
from loadgen.job import Job, JobResult
from loadgen.probe import PoolProber
from loadgen.run import run_job
from nightbench.load import ClosedLoop
from nightbench.model import Artifact, Format, ModelSpec, Precision
from nightbench.server import Deployment, Endpoint, Limits, OptionValue, Protocol, ServerSpec
from nightbench.settings import Settings
from nightbench.stopping import never

RUN = "conformance"
PREFERRED = "mobilenet_v2_035_96"
POOL_COUNT = 16
TIMEOUT_S = 30.0
"""Of one request: this machine may be busy with other things, and nothing here is timed."""


@dataclass(frozen=True, slots=True)
class Launched:
    """One running deployment, and what belongs to it."""

    id: str
    deployment: Deployment
    home: Path
    """The home directory it was given, empty when it started."""

    @property
    def tree(self) -> Tree:
        assert self.deployment.pid is not None
        return of_deployment(self.deployment.pid, RUN, self.id)

    def pids(self) -> set[int]:
        return {seen.pid for seen in self.tree.alive()}

    def listening(self) -> set[tuple[str, int]]:
        """Every address and TCP port that one of its processes listens on."""
        found: set[tuple[str, int]] = set()
        for pid in self.pids():
            try:
                sockets = psutil.Process(pid).net_connections(kind="tcp")
            except psutil.NoSuchProcess:
                continue
            found |= {(each.laddr.ip, each.laddr.port) for each in sockets if each.status == psutil.CONN_LISTEN}
        return found


class Subject:
    """What the checks of one server share: its environment, its exports, and its first deployment."""

    def __init__(self, spec: ServerSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.settings = Settings.from_environment()
        self._prepared: dict[Format, Prepared] = {}
        self._stack = ExitStack()
        self._first: Launched | None = None
        self._failure: Exception | None = None
        self.starts = 0
        """How often it was started so far."""

    @cached_property
    def environment(self) -> Environment:
        """Built on first use, which may take minutes."""
        settings, log = self.settings, self.folder / "environment.log"
        return ensure_environment(self.spec, settings.server_environments, settings.environments, print, log)

    @property
    def launcher(self) -> ProcessLauncher | DockerLauncher:
        return ProcessLauncher()

    @property
    def model(self) -> ModelSpec:
        """The small image classifier, or the first model of the zoo that this server can serve at all."""
        models = zoo.models()
        order = [models[PREFERRED], *sorted(models.values(), key=lambda each: not each.name.startswith("tiny"))]
        return next(model for model in order if not set(model.formats).isdisjoint(self.spec.formats))

    @property
    def batches(self) -> tuple[int, ...]:
        return (1,) if self.model.language else (1, 8)

    @property
    def format(self) -> Format:
        """The server's own first choice among those the model has."""
        return next(each for each in self.spec.formats if each in self.model.formats)

    def prepared(self, format_: Format) -> Prepared:
        """The exported model, its inputs and the reference's answers."""
        if format_ not in self._prepared:
            self._prepared[format_] = prepare(
                self.model,
                format_,
                Precision.FP32,
                self.model.default_weights,
                cache=self.settings.artifacts,
                pool_count=POOL_COUNT,
                batches=self.batches,
                log=self.folder / "export.log",
            )
        return self._prepared[format_]

    def prober(self) -> PoolProber:
        model = self.model
        return PoolProber(self.prepared(self.format).pool, model.inputs, model.outputs, model.tolerance)

    @property
    def first(self) -> Launched:
        """The deployment that most checks ask, started by the first of them. A start that failed is not repeated."""
        if self._failure is not None:
            raise AssertionError(f"it did not start: {self._failure}") from self._failure
        if self._first is None:
            try:
                self._first = self._stack.enter_context(self.launched())
            except Exception as error:
                self._failure = error
                raise
        return self._first

    def end(self) -> None:
        """Take the first deployment down."""
        self._first = None
        self._stack.close()

    @contextmanager
    def launched(
        self,
        options: Mapping[str, OptionValue] | None = None,
        format_: Format | None = None,
        artifact: Artifact | None = None,
        should_stop: Callable[[], bool] = never,
    ) -> Iterator[Launched]:
        """One more deployment, with a home directory of its own: what a server drops there is found."""
        self.starts += 1
        name = f"{self.spec.name}-{self.starts}"
        home = self.folder / f"home-{self.starts}"
        home.mkdir()
        prepared = self.prepared(format_ or self.format)
        request = LaunchRequest(
            spec=self.spec,
            model=self.model,
            artifact=artifact or prepared.artifact,
            options=options or {},
            threads=1,
            limits=Limits(),
            environment=self.environment,
            run_id=RUN,
            deployment_id=name,
            log_path=self.folder / f"server-{self.starts}.log",
        )
        with ExitStack() as stack:
            with _home(home):
                deployment = stack.enter_context(self.launcher.launch(request, self.prober(), should_stop))
            yield Launched(name, deployment, home)

    def loaded(self, endpoint: Endpoint, batch: int = 1, concurrent: int = 1, requests: int = POOL_COUNT) -> JobResult:
        """What the load engine says of ``requests`` distinct ones, every answer compared with the reference."""
        model = self.model
        return run_job(
            Job(
                endpoint=endpoint,
                load=ClosedLoop(concurrent),
                batch=batch,
                inputs=model.inputs,
                outputs=model.outputs,
                pool=self.prepared(self.format).pool.path,
                tolerance=model.tolerance,
                duration_s=180.0,
                samples=self.folder / "samples.npz",
                timeout_s=TIMEOUT_S,
                verify_every=1,
                max_requests=requests,
            )
        )

    def endpoint(self, protocol: Protocol) -> Endpoint:
        return self.first.deployment.endpoints[protocol]


def assert_all_right(result: JobResult, requests: int) -> None:
    """Every request was answered, and every answer was the reference's."""
    assert result.error is None, result.error
    assert result.outcomes == {"ok": requests}, result.detail
    assert (result.wrong, result.verified) == (0, requests), result.detail


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    before = os.environ.get("HOME")
    os.environ["HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["HOME"]
        else:
            os.environ["HOME"] = before
