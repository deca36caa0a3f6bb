"""A "server" that lives in the load engine: nothing is started, the engine loads the model itself."""

import time
from collections.abc import Callable

from launch.cgroup import MemoryGroup
from launch.limits import affinity, describe
from launch.logs import log_tail
from launch.request import LaunchRequest
from nightbench.errors import DeploymentError
from nightbench.server import Deployment, Endpoint, Prober, ProbeStatus, Protocol
from nightbench.stopping import Stopped

__all__ = ["deploy_in_process"]


_KINDS = {ProbeStatus.WRONG: "wrong_answer", ProbeStatus.FAILED: "died"}


def deploy_in_process(request: LaunchRequest, prober: Prober, should_stop: Callable[[], bool]) -> Deployment:
    """Ask one prediction of it; the time of that call, engine start included, is its cold start.

    The engine that ``prober`` starts inherits the processors of ``request.limits``; whoever measures pins its own
    engine to them (`loadgen.job.Job.cpus`). Memory is not limited: no one process here is the server.
    Raises `DeploymentError` of kind ``wrong_answer``, ``died`` or ``not_ready``; `Stopped` if told to stop;
    `UsageError` if a processor is not ours.
    """
    spec = request.spec
    request.log_path.parent.mkdir(parents=True, exist_ok=True)
    request.log_path.touch()
    endpoint = Endpoint(
        Protocol.IN_PROCESS,
        model=request.model.name,
        command=(str(request.environment.python),),
        module=spec.folder / "serve.py",
        artifact=request.artifact.path,
        options={
            **spec.resolve(request.options),
            "outputs": ",".join(output.name for output in request.model.outputs),
        },
        threads=request.threads,
    )
    with affinity(request.limits.cpus):
        started_ns = time.monotonic_ns()
        result = prober(endpoint, spec.ready_timeout_s)
        cold_start_ns = time.monotonic_ns() - started_ns
    if result.status is ProbeStatus.NOT_YET and should_stop():
        raise Stopped(f"stopped while {spec.name} was starting")
    if result.status is not ProbeStatus.READY:
        kind = _KINDS.get(result.status, "not_ready")
        raise DeploymentError(kind, result.detail, log_tail(request.log_path))
    return Deployment(
        server=spec.name,
        endpoints={Protocol.IN_PROCESS: endpoint},
        pid=None,
        cold_start_ns=cold_start_ns,
        model_load_ns=result.model_load_ns,
        rss_bytes=result.rss_bytes,
        server_version=request.environment.version,
        environment=request.environment.fingerprint,
        log_path=request.log_path,
        limits=describe(request.limits, MemoryGroup(None, "not enforced: the load engine hosts the model")),
    )
