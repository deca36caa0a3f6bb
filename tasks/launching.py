"""Containers or processes: settled once a run, before anything is started."""

from pathlib import Path

from launch.engine import Engine, available, engine, has_image
from launch.environment import Environment, pinned_version
from launch.images import ensure_image
from launch.reaper import reap_containers
from nightbench.errors import DeploymentError, UsageError
from nightbench.server import Launcher, ServerSpec
from nightbench.suite import Suite
from servers.container import PYTHON, SITE_PACKAGES
from tasks.session import Session

__all__ = ["ENGINE", "contained", "context_of", "engine_for", "image_environment"]

ENGINE = "docker_engine"
"""In the context of a run whose servers are containers: the engine's version."""


def engine_for(suite: Suite, source: str) -> Engine | None:
    """What starts the suite's containers, rid of what killed runs left there; ``None`` for processes.

    `UsageError` if the suite wants containers and no engine answers. ``source`` names the suite in it.
    """
    if suite.launcher is Launcher.PROCESS or (suite.launcher is Launcher.AUTO and available() is not None):
        return None
    try:
        found = engine()
    except DeploymentError as error:
        raise UsageError(f"{source}: launcher: {suite.launcher}: {error.detail}") from error
    reap_containers(found)
    return found


def context_of(found: Engine | None) -> dict[str, str]:
    """What a run's context says of it; nothing for processes, as before there were containers."""
    return {} if found is None else {ENGINE: found.version}


def contained(session: Session, spec: ServerSpec) -> bool:
    """Whether ``spec`` is started in a container: not what the load engine hosts, nor what runs already.

    Where the suite leaves the choice, a server that has no image stays a process.
    """
    if session.engine is None or spec.in_process or spec.external is not None:
        return False
    imaged = bool(spec.image) or (spec.folder / "Dockerfile").is_file()
    return imaged or session.suite.launcher is Launcher.DOCKER


def image_environment(session: Session, found: Engine, spec: ServerSpec, image: str = "") -> Environment:
    """The server's image in place of an environment: built or pulled if it is not there.

    ``image``, by digest or id, is taken instead where the engine has it. Raises `DeploymentError` of kind ``no_image``
    and `Stopped`.
    """
    if image and has_image(found, image):
        return _environment(spec, image, image, built=False)
    log = session.folder / "logs" / f"image-{spec.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    made = ensure_image(
        spec,
        found.url,
        log,
        session.progress.doing,
        session.should_stop,
        base=session.settings.image_base,
    )
    return _environment(spec, made.ref, made.digest, built=made.built)


def _environment(spec: ServerSpec, image: str, digest: str, *, built: bool) -> Environment:
    # An official image's tag is its maker's version.
    tag = Path(spec.image.partition("@")[0]).name.partition(":")[2]
    digest = digest.rpartition("@")[2]
    return Environment(
        PYTHON,
        SITE_PACKAGES,
        fingerprint=digest.removeprefix("sha256:")[:12],
        version=tag or pinned_version(spec),
        built=built,
        build_ns=0,
        image=image,
        image_digest=digest,
    )
