"""Stage: a server's environment, and one deployment of it that ends with the block whatever happens."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from launch.docker import DockerLauncher
from launch.engine import Engine
from launch.environment import Environment, ensure_environment
from launch.external import ExternalLauncher, no_environment
from launch.here import missing
from launch.limits import gpus_for
from launch.process import LaunchRequest, ProcessLauncher, labels
from loadgen.probe import PoolProber
from nightbench.errors import DeploymentError
from nightbench.parity import tolerance_at
from nightbench.plan import Replicate
from nightbench.record import DeploymentRecord, KitRecord
from nightbench.server import Deployment, Limits, ServerSpec
from nightbench.stopping import Stopped
from servers.kit import kit_files, kit_sha256
from tasks.export import Exported
from tasks.launching import contained, image_environment
from tasks.live import Live, announced, live_folder
from tasks.session import Session

__all__ = ["deployed", "prepare_environment"]

GIB = 1024**3


def prepare_environment(session: Session, server: str, image: str = "") -> Environment | DeploymentError:
    """The server's own environment, or its image, built if this machine has none of that exact requirement list yet.

    ``image``, of a server in a container, is the one to take if it is still there.
    """
    session.check_stop()
    spec = session.server(server)
    if spec.external is not None:
        return no_environment()
    _keep_kit(session, spec)
    if session.engine is not None and contained(session, spec):
        return _prepare_image(session, session.engine, spec, image)
    session.progress.doing(f"environment of {server}")
    if absent := missing(spec):
        error = DeploymentError("no_environment", f"{server} cannot run here: it needs {', '.join(absent)}")
        session.progress.note(error.detail)
        return error
    with session.ledger.span("setup"):
        try:
            return ensure_environment(
                spec,
                root=session.settings.server_environments,
                mode=session.settings.environments,
                on_event=session.progress.doing,
                log=session.folder / "logs" / f"environment-{server}.log",
                should_stop=session.should_stop,
            )
        except Stopped as stopped:
            raise session.cancelled() from stopped
        except DeploymentError as error:
            session.progress.note(f"no environment for {server}: {error.detail}")
            return error


def _prepare_image(session: Session, engine: Engine, spec: ServerSpec, image: str) -> Environment | DeploymentError:
    session.progress.doing(f"image of {spec.name}")
    with session.ledger.span("setup"):
        try:
            return image_environment(session, engine, spec, image)
        except Stopped as stopped:
            raise session.cancelled() from stopped
        except DeploymentError as error:
            session.progress.note(f"no image for {spec.name}: {error.detail}")
            return error


def _keep_kit(session: Session, spec: ServerSpec) -> None:
    """Put on record what the server is made of, so that tonight's can be deployed again some other night."""
    files = kit_files(spec)
    digest = kit_sha256(files)
    if session.known.kits.get(spec.name) != digest:
        session.known.kits[spec.name] = digest
        session.record(KitRecord(session.run_id, spec.name, digest, files))


@contextmanager
def deployed(
    session: Session, replicate: Replicate, exported: Exported, environment: Environment | DeploymentError
) -> Iterator[Deployment | DeploymentError]:
    """One fresh start of a server for the length of the block; or why there is none. Either way it is on record."""
    session.check_stop()
    setup = replicate.setup
    session.progress.doing(f"round {replicate.round}: starting {setup.server} for {setup.export.model}")
    started_at = datetime.now(UTC)
    with ExitStack() as stack:
        with session.ledger.span("deploy"):
            outcome = _launch(session, replicate, exported, environment, stack)
        session.record(_record(session, replicate, environment, outcome, started_at))
        if isinstance(outcome, DeploymentError):
            session.progress.note(f"{setup.server} did not come up for {setup.export.model}: {outcome.detail}")
        else:
            live = Live.of(session.run_id, replicate, outcome)
            stack.enter_context(announced(live_folder(session.settings), live))
        try:
            yield outcome
        finally:
            with session.ledger.span("deploy"):
                stack.close()


def _launch(
    session: Session,
    replicate: Replicate,
    exported: Exported,
    environment: Environment | DeploymentError,
    stack: ExitStack,
) -> Deployment | DeploymentError:
    if isinstance(environment, DeploymentError):
        return environment
    setup, model = replicate.setup, session.catalog.models[replicate.setup.export.model]
    spec, memory_gib = session.server(setup.server), session.suite.memory_gib
    gpus = gpus_for(spec, setup.options_map) if environment.image else ()
    request = LaunchRequest(
        spec=spec,
        model=model,
        artifact=exported.artifact,
        options=setup.options_map,
        threads=session.suite.threads,
        limits=Limits(session.place.server, int(memory_gib * GIB) if memory_gib else None, gpus),
        environment=environment,
        run_id=session.run_id,
        deployment_id=replicate.deployment_id,
        log_path=_log_path(session, replicate),
        ports=session.settings.server_ports,
        shared_memory=session.settings.shared_memory,
    )
    prober = PoolProber(
        exported.pool,
        model.inputs,
        model.outputs,
        tolerance_at(model, setup.export.precision, setup.export.weights),
        env=labels(session.run_id, replicate.deployment_id),
        should_stop=session.should_stop,
        workdir_root=session.workdir,
    )
    try:
        return stack.enter_context(_launcher(session, spec, environment).launch(request, prober, session.should_stop))
    except Stopped as stopped:
        raise session.cancelled() from stopped
    except DeploymentError as error:
        return error


def _launcher(
    session: Session, spec: ServerSpec, environment: Environment
) -> ProcessLauncher | DockerLauncher | ExternalLauncher:
    if spec.external is not None:
        return ExternalLauncher()
    if session.engine is not None and environment.image:
        return DockerLauncher(session.engine)
    return ProcessLauncher()


def _log_path(session: Session, replicate: Replicate) -> Path:
    return session.folder / "logs" / f"{replicate.deployment_id}.log"


def _record(
    session: Session,
    replicate: Replicate,
    environment: Environment | DeploymentError,
    outcome: Deployment | DeploymentError,
    started_at: datetime,
) -> DeploymentRecord:
    setup = replicate.setup
    up = outcome if isinstance(outcome, Deployment) else None
    error = outcome if isinstance(outcome, DeploymentError) else None
    built = environment if isinstance(environment, Environment) else None
    return DeploymentRecord(
        run_id=session.run_id,
        deployment_id=replicate.deployment_id,
        round=replicate.round,
        server=setup.server,
        server_version=built.version if built else "",
        environment=built.fingerprint if built else "",
        model=setup.export.model,
        format=setup.export.format,
        precision=setup.export.precision,
        options=setup.options_map,
        started_at=started_at,
        cold_start_ns=up.cold_start_ns if up else None,
        model_load_ns=up.model_load_ns if up else None,
        rss_bytes=up.rss_bytes if up else None,
        limits=up.limits if up else {},
        log_path=str(_log_path(session, replicate).relative_to(session.settings.home)),
        failure_kind=error.kind if error else None,
        failure=error.detail if error else None,
        log_tail=error.log_tail if error else "",
        launcher="docker" if contained(session, session.server(setup.server)) else "process",
        image=built.image if built else "",
        image_digest=built.image_digest if built else "",
    )
