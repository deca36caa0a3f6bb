"""Containers or processes: settled once a run, before anything is started."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from launch.engine import Engine, available, engine, has_image
from launch.environment import Environment, pinned_version
from launch.images import ensure_image
from launch.reaper import reap_containers
from nightbench.errors import DeploymentError, NightbenchError, UsageError
from nightbench.server import Launcher, ServerSpec
from nightbench.suite import Suite
from servers.container import PYTHON, SITE_PACKAGES
from tasks.session import Session

if TYPE_CHECKING:
    from db.store import Store  # SQLAlchemy is not on every machine that measures

__all__ = ["ENGINE", "contained", "context_of", "engine_as_begun", "engine_for", "image_environment", "other_way"]

ENGINE = "docker_engine"
"""In the context of a run whose servers are containers: the engine's version."""


def engine_for(suite: Suite, source: str, note: Callable[[str], None] = lambda _: None) -> Engine | None:
    """What starts the suite's containers, rid of what killed runs left there; ``None`` for processes.

    `UsageError` if the suite wants containers and no engine answers. ``source`` names the suite in it. Where the suite
    leaves the choice, ``note`` is told what became of it.
    """
    if suite.launcher is Launcher.PROCESS:
        return None
    if suite.launcher is Launcher.AUTO and (why := available()) is not None:
        note(f"servers run as processes: {why}")
        return None
    found = _swept(f"{source}: launcher: {suite.launcher}:")
    if suite.launcher is Launcher.AUTO:
        note("servers run in containers")
    return found


def engine_as_begun(run_id: str, *, containers: bool) -> Engine | None:
    """`engine_for` a run that had servers in ``containers``, or not, whatever would be chosen now: a cell's rounds are
    of one kind. `UsageError` if there is no engine to go on with."""
    return _swept(f"run {run_id!r}: was begun in containers, and") if containers else None


def _swept(refused: str) -> Engine:
    """The engine, rid of what killed runs left there; `UsageError`, which begins with ``refused``, if none answers."""
    try:
        found = engine()
    except DeploymentError as error:
        raise UsageError(f"{refused} {error.detail}") from error
    reap_containers(found)
    return found


def other_way(store: "Store", suite: str, hardware: str, found: Engine | None) -> str:
    """What to say if the suite's last night on such a machine started its servers in the other way than by ``found``:
    how it is started is part of a series' name. Empty if it did not, or cannot be asked."""
    try:
        nights = [night for night in store.history(suite=suite) if night.hardware == hardware and night.measured]
        begun = store.run_started(nights[0].run_id) if nights else None
    except NightbenchError:
        return ""
    if begun is None or (ENGINE in begun.context) == (found is not None):
        return ""
    was = "as processes" if found is not None else "in containers"
    return (
        f"run {begun.run_id} had its servers {was}; tonight's series are others, and are not compared with that run's"
    )


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
