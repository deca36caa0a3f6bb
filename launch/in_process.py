"""A "server" that lives in the load engine: nothing is started, the engine loads the model itself."""

import time

from launch.logs import log_tail
from launch.request import LaunchRequest
from nightbench.errors import DeploymentError
from nightbench.server import Deployment, Endpoint, Prober, ProbeStatus, Protocol

__all__ = ["deploy_in_process"]


def deploy_in_process(request: LaunchRequest, prober: Prober) -> Deployment:
    """Ask one prediction of it; the time of that call, engine start included, is its cold start.

    Limits are the load engine's to hold, since it is the process that is measured.
    Raises `DeploymentError` of kind ``wrong_answer`` or ``not_ready``.
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
    started_ns = time.monotonic_ns()
    result = prober(endpoint, spec.ready_timeout_s)
    cold_start_ns = time.monotonic_ns() - started_ns
    if result.status is not ProbeStatus.READY:
        kind = "wrong_answer" if result.status is ProbeStatus.WRONG else "not_ready"
        raise DeploymentError(kind, result.detail, log_tail(request.log_path))
    asked = {"cpus": request.limits.cpus, "memory": request.limits.memory_bytes}
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
        limits={name: "left to the load engine" for name, value in asked.items() if value is not None},
    )
