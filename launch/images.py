"""Images of servers: built from a server's kit, or another maker's pulled by digest.

A tag is a hash of all that an image is made from, so one that is there need not be built. What pip is told on this
machine reaches a build as secrets, and packages that lie on this machine as a mount: neither is in a layer or in
``docker history`` (docs/containers.md).
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from launch.docker_build import Build, docker_build
from launch.engine import engine, refusal
from launch.labels import Owner
from launch.pip_settings import lend_wheels, pip_settings
from nightbench.errors import DeploymentError
from nightbench.server import Command, ServerSpec
from nightbench.stopping import never
from servers import container
from servers.kit import kit_files
from servers.official import OFFICIAL

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.errors import APIError
    from docker.models.images import Image as DockerImage

__all__ = [
    "SERVER_LABEL",
    "Built",
    "Image",
    "built_images",
    "built_tag",
    "ensure_image",
    "imaged",
    "inside",
    "remove_images",
]

SERVER_LABEL = "nightbench.server"
"""On every image that is built here: the server it is of."""
_OURS = "nightbench/"
_HASH_LENGTH = 12
_SERVERS = Path(__file__).parents[1] / "servers"


@dataclass(frozen=True, slots=True)
class Image:
    """What a container can be started from."""

    ref: str
    """Its name, as a person knows it."""
    digest: str
    """Names its bytes: of a pulled image the registry's, of a built one its id. The engine starts either."""
    built: bool
    """Whether this call built or pulled it."""


@dataclass(frozen=True, slots=True)
class Built:
    """One image at the engine."""

    ref: str
    digest: str
    size_bytes: int
    """With its layers, which it may share with others."""


def ensure_image(
    spec: ServerSpec,
    url: str,
    log: Path,
    on_event: Callable[[str], None],
    should_stop: Callable[[], bool] = never,
    *,
    base: str,
) -> Image:
    """The image of ``spec`` at the engine at ``url``, built or pulled if it is not there.

    ``base`` is what images are built on (`Settings.image_base`). ``on_event`` is
    told in words what takes time; what the build prints goes to ``log``. `DeploymentError` of kind ``no_image`` in one
    sentence, and `Stopped` soon after ``should_stop`` turns true.
    """
    import docker.errors

    ref = spec.image or built_tag(spec, base)
    try:
        with closing(engine(url).client) as client:
            if (digest := _present(client, ref)) is not None:
                return Image(ref, digest, built=False)
            if spec.image:
                return _pulled(client, spec, on_event)
            _build(spec, url, ref, base, log, on_event, should_stop)
            digest = _present(client, ref)
    except docker.errors.DockerException as error:
        raise refusal(error, image=ref, url=url) from error
    except OSError as error:
        raise DeploymentError("no_image", f"the image of {spec.name}: {error}") from error
    if digest is None:
        raise DeploymentError("no_image", f"the image of {spec.name} was built and is not there; see {log}")
    return Image(ref, digest, built=True)


def built_images(url: str, *others: str) -> list[Built]:
    """Every image that was built here, and those ``others`` that are there. `DeploymentError` as `launch.engine`.

    Other names that somebody gave to an image of ours are theirs.
    """
    import docker.errors

    try:
        with closing(engine(url).client) as client:
            ours = client.images.list(filters={"label": SERVER_LABEL})
            found = [(tag, image) for image in ours for tag in image.tags if tag.startswith(_OURS)]
            wanted = set(others)
            found += [
                (ref, image)
                for image in client.images.list()
                for ref in wanted
                if ref.partition("@")[2] in {digest.partition("@")[2] for digest in image.attrs["RepoDigests"] or ()}
            ]
            return [Built(ref, str(image.id), int(image.attrs["Size"])) for ref, image in sorted(found, key=_by_ref)]
    except docker.errors.APIError as error:
        raise DeploymentError("no_image", f"the engine does not say which images it has: {_words(error)}") from error
    except (docker.errors.DockerException, OSError) as error:
        raise refusal(error, url=url) from error


def remove_images(images: Iterable[Built], url: str) -> Iterator[tuple[Built, str]]:
    """Remove them one by one; each with why it is kept, if it is: a container may run from it."""
    import docker.errors

    with closing(engine(url).client) as client:
        for image in images:
            try:
                client.images.remove(image.ref)
            except docker.errors.APIError as error:
                yield image, _words(error)
            except (docker.errors.DockerException, OSError) as error:
                raise refusal(error, url=url) from error
            else:
                yield image, ""


def _words(error: "APIError") -> str:
    return " ".join(str(error.explanation or error).split())


def _by_ref(found: "tuple[str, DockerImage]") -> str:
    return found[0]


def built_tag(spec: ServerSpec, base: str) -> str:
    """The name of the image that the server's kit and Dockerfile make on ``base``."""
    made_from = {**_context(spec), "Dockerfile": _dockerfile(spec).read_text(encoding="utf-8"), "base": base}
    text = json.dumps(made_from, sort_keys=True, separators=(",", ":"))
    return f"{_OURS}{spec.name}:{sha256(text.encode()).hexdigest()[:_HASH_LENGTH]}"


def inside(spec: ServerSpec, command: Command) -> Command:
    """``command`` as the server's image is to be told it: the kit's paths are those of the image."""
    beside = {Path(name).parts[1] for name in kit_files(spec) if name.startswith("../")}
    return container.inside(command, (spec.folder, *(spec.folder.parent / name for name in sorted(beside))))


def _present(client: "DockerClient", ref: str) -> str | None:
    import docker.errors

    try:
        image = client.images.get(ref)
    except docker.errors.ImageNotFound:
        return None
    _, at, digest = ref.partition("@")
    return digest if at else str(image.id)


def _pulled(client: "DockerClient", spec: ServerSpec, on_event: Callable[[str], None]) -> Image:
    name, _, digest = spec.image.partition("@")
    if known := next((key for key, each in OFFICIAL.items() if each.ref == spec.image and not each.pinned), None):
        raise DeploymentError(
            "no_image",
            f"the digest of {name} is a placeholder; `nightbench images --bump {known}` asks its registry for it",
        )
    on_event(f"pulling {name} (first use)")
    repository = name.rpartition(":")[0] or name
    client.images.pull(f"{repository}@{digest}" if digest else name)
    return Image(spec.image, digest or str(client.images.get(name).id), built=True)


def _context(spec: ServerSpec) -> dict[str, str]:
    """The kit by path below `servers.container.ROOT`."""
    return {
        name.removeprefix("../") if name.startswith("../") else f"{spec.folder.name}/{name}": text
        for name, text in kit_files(spec).items()
    }


def imaged(spec: ServerSpec) -> bool:
    """Whether there is an image for it, or what to build one from."""
    return bool(spec.image) or _recipe(spec).is_file()


def _recipe(spec: ServerSpec) -> Path:
    """The folder's own, or for a restored kit, which has none, that of the server today."""
    own = spec.folder / "Dockerfile"
    return own if own.is_file() else _SERVERS / spec.folder.name / "Dockerfile"


def _dockerfile(spec: ServerSpec) -> Path:
    found = _recipe(spec)
    if not found.is_file():
        raise DeploymentError("no_image", f"{spec.folder} has neither a Dockerfile nor an official image")
    return found


def _build(
    spec: ServerSpec,
    url: str,
    tag: str,
    base: str,
    log: Path,
    on_event: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> None:
    on_event(f"building the image of {spec.name} (first use)")
    with TemporaryDirectory(prefix=Owner.current().prefix) as made:
        folder = Path(made)
        context = folder / "context"
        for name, text in _context(spec).items():
            path = context / "srv" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)  # whoever runs it, whatever our umask
        for path in (context / "srv").rglob("*/"):
            path.chmod(0o755)
        settings = pip_settings()
        (context / "wheels").mkdir()
        if spec.requirements.is_file():
            lend_wheels(settings, spec.requirements.read_text(encoding="utf-8"), context / "wheels")
        conf = folder / "pip.conf"
        conf.touch(mode=0o600)
        conf.write_text(settings.text, encoding="utf-8")
        log.parent.mkdir(parents=True, exist_ok=True)
        docker_build(
            Build(
                name=spec.name,
                tag=tag,
                dockerfile=_dockerfile(spec),
                context=context,
                arguments={"BASE": base},
                secrets={"pip.conf": conf, **settings.files},
                labels={SERVER_LABEL: spec.name},
            ),
            url,
            log,
            on_event,
            should_stop,
        )
