"""One side of a comparison: a server as it was or is, ready to be deployed afresh as often as it takes."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from export.kept import kept_artifact
from launch.engine import has_image
from launch.environment import Environment
from nightbench.catalog import Catalog
from nightbench.errors import DeploymentError, UsageError
from nightbench.judge.factors import HOST, Recipe
from nightbench.plan import Setup
from nightbench.server import ServerSpec
from servers.kit import kit_files, restored
from tasks.ab.past import Unrestorable, image_in
from tasks.deploy import prepare_environment
from tasks.export import Exported
from tasks.session import Session

__all__ = ["Side", "artifact_of", "as_is", "image_gone", "made"]


@dataclass(frozen=True, slots=True)
class Side:
    """All that a deployment needs."""

    name: str
    """``good``, ``tonight``, or in a bisection the name of the mixture."""
    session: Session
    """In whose catalogue the server is that side's."""
    setup: Setup
    exported: Exported
    environment: Environment


def as_is(session: Session, setup: Setup, exported: Exported, name: str = "tonight") -> tuple[Side, Recipe]:
    """The server as it lies here now, and what it is made of. `Unrestorable` if it has no environment."""
    spec = session.server(setup.server)
    environment = _environment(session, setup.server)
    kind = environment.fingerprint if spec.external is not None or session.settings.environments == HOST else "pinned"
    recipe = Recipe(
        files={} if spec.external is not None else kit_files(spec),
        environment=kind,
        artifact_sha256=exported.artifact.sha256,
        options=setup.options_map,
        context={**session.context, "server_version": environment.version},
        image=image_in({"image": environment.image, "image_digest": environment.image_digest}),
    )
    return Side(name, session, setup, exported, environment), recipe


def made(session: Session, name: str, recipe: Recipe, setup: Setup, exported: Exported, root: Path) -> Side:
    """The server that ``recipe`` makes, its files below ``root``; ``setup`` and ``exported`` are those of today.

    `Unrestorable` says why it cannot be made: its code does not load, its packages cannot be had together, its artifact
    is gone, or its options are none of its own.
    """
    today = session.server(setup.server)
    try:
        spec = _spec(recipe, today, root)
        # An option that this code does not have, or does not have yet, says nothing to it.
        known = {option.name for option in spec.options}
        options = spec.resolve({name: value for name, value in recipe.options.items() if name in known})
        if spec.check is not None:
            spec.check(options)
        if spec.fits is not None:
            spec.fits(session.catalog.models[setup.export.model], setup.export.format, options)
    except UsageError as error:
        raise Unrestorable(str(error)) from error
    except Exception as error:  # another night's code, which need not fit what calls it today
        raise Unrestorable(f"{setup.server} of that night: {type(error).__name__}: {error}") from error
    artifact = artifact_of(session, recipe.artifact_sha256, exported)
    if artifact is None:
        raise Unrestorable(f"artifact {recipe.artifact_sha256[:12]} is no longer in the cache")
    models, servers = session.catalog.models, session.catalog.servers
    own = replace(session, catalog=Catalog(models, {**servers, setup.server: spec}, session.catalog.signature))
    changed = replace(setup, options=tuple(sorted(options.items())))
    return Side(name, own, changed, artifact, _environment(own, setup.server, recipe.image))


def artifact_of(session: Session, sha256: str, exported: Exported) -> Exported | None:
    """Today's, or an earlier one of the same model that the cache still has; the inputs are the same."""
    if sha256 == exported.artifact.sha256:
        return exported
    artifact = kept_artifact(session.settings.artifacts, sha256, exported.artifact)
    return None if artifact is None else replace(exported, artifact=artifact)


def _spec(recipe: Recipe, today: ServerSpec, root: Path) -> ServerSpec:
    if recipe.files is None or today.external is not None or recipe.files == kit_files(today):
        return today
    spec = restored(recipe.files, today, root)
    # No kit holds it: an image of that night's files is built as today's are.
    if (dockerfile := today.folder / "Dockerfile").is_file():
        shutil.copyfile(dockerfile, spec.folder / "Dockerfile")
    return spec


def image_gone(session: Session, recipe: Recipe) -> str:
    """Why the image of ``recipe`` cannot be had again; empty if it can, or if there is none."""
    if not recipe.image or (session.engine is not None and has_image(session.engine, recipe.image)):
        return ""
    return "the engine no longer has it"


def _environment(session: Session, server: str, image: str = "") -> Environment:
    environment = prepare_environment(session, server, image)
    if isinstance(environment, DeploymentError):
        raise Unrestorable(environment.detail)
    return environment
