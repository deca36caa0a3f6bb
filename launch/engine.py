"""The Docker engine: found, asked whether it answers, and its refusals put into sentences."""

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nightbench.errors import DeploymentError

if TYPE_CHECKING:
    from docker import DockerClient  # half a second to import, which commands that start nothing need not wait for

__all__ = ["Engine", "available", "engine", "engine_url", "has_image", "refusal"]

_USUAL = "unix:///var/run/docker.sock"
_TIMEOUT_S = 60
"""Of one call. Removing a container on a busy disk takes seconds; a hung engine must not hold the night up."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One that answered."""

    client: "DockerClient"
    url: str
    version: str


def engine_url() -> str:
    """Where Docker's own command would look, save for its contexts: ``DOCKER_HOST``, or the usual socket."""
    return os.environ.get("DOCKER_HOST") or _USUAL


def engine(url: str | None = None) -> Engine:
    """The engine at ``url``, by default at `engine_url`; `DeploymentError` of kind ``no_engine`` if none answers."""
    url = url or engine_url()
    try:
        _knock(url)
    except OSError as error:
        raise DeploymentError("no_engine", _no_engine(url, error)) from error
    from docker import DockerClient
    from docker.errors import DockerException

    try:
        client = DockerClient.from_env(timeout=_TIMEOUT_S, environment={**os.environ, "DOCKER_HOST": url})
        version = str(client.version()["Version"])
    except (DockerException, OSError, ValueError) as error:
        raise DeploymentError("no_engine", _no_engine(url, error)) from error
    return Engine(client, url, version)


def available(url: str | None = None) -> str | None:
    """``None`` if an engine answers, else why not."""
    try:
        engine(url).client.close()
    except DeploymentError as error:
        return error.detail
    return None


def _knock(url: str) -> None:
    """`OSError` if nobody listens at the socket: told without loading the client, which forgets to close its own."""
    if url.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.settimeout(_TIMEOUT_S)
            visitor.connect(url.removeprefix("unix://"))


def has_image(found: Engine, image: str) -> bool:
    """Whether the engine has the image of this name, digest or id, without asking any registry."""
    from docker.errors import DockerException

    try:
        found.client.images.get(image)
    except (DockerException, OSError):
        return False
    return True


def refusal(error: Exception, *, image: str = "", url: str = "") -> DeploymentError:
    """What the engine would not do, as a failure of one deployment. ``error`` is what its client raised.

    The kinds are told apart by the engine's words, as its status codes do not: an absent image and a missing GPU
    driver are both "500 Internal Server Error".
    """
    words = _words(error)
    low = words.lower()
    if "could not select device driver" in low or "nvidia-container-cli" in low or "unresolvable cdi devices" in low:
        return DeploymentError(
            "no_gpu",
            f"the engine cannot give a container a GPU ({words}); install the NVIDIA Container Toolkit and run "
            "`nvidia-ctk runtime configure --runtime=docker`, or measure this server without one",
        )
    if "no such image" in low or "manifest unknown" in low or "pull access denied" in low or "no such host" in low:
        return DeploymentError(
            "no_image",
            f"the image {image} is not here and cannot be pulled ({words}); `nightbench images` says which there are",
        )
    if "no space left on device" in low:
        return DeploymentError(
            "no_disk",
            f"the engine's disk is full ({words}); `docker system df` says with what, `docker system prune` frees",
        )
    if "cannot allocate memory" in low:
        return DeploymentError("died", f"the engine had no memory left to start it ({words})")
    if _is_connection(error):
        return DeploymentError("no_engine", _no_engine(url or engine_url(), error))
    return DeploymentError("died", f"the engine did not start it: {words}")


def _is_connection(error: BaseException) -> bool:
    return any(type(each).__name__ in {"ConnectionError", "Timeout", "ReadTimeout"} for each in _causes(error)) or (
        isinstance(error, OSError) and not hasattr(error, "explanation")
    )


def _causes(error: BaseException | None) -> list[BaseException]:
    """``error`` and what it came from: the client wraps what the system said up to five times."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__, *(arg for arg in each.args if isinstance(arg, BaseException))]
    return found


def _words(error: Exception) -> str:
    said = getattr(error, "explanation", None) or error
    return " ".join(str(said).split()).rstrip(".")


def _no_engine(url: str, error: BaseException) -> str:
    causes = _causes(error)
    if any(isinstance(each, PermissionError) for each in causes):
        return (
            f"this user may not open the Docker engine's socket {url}; add the user to the group that owns it "
            "(`sudo usermod -aG docker $USER`, then log in anew), or start a rootless engine and name it in DOCKER_HOST"
        )
    if any(isinstance(each, FileNotFoundError | ConnectionRefusedError) for each in causes):
        return (
            f"no Docker engine answers at {url}; start it (`sudo systemctl start docker`), name another in "
            "DOCKER_HOST, or set the suite's 'launcher: process'"
        )
    return f"the Docker engine at {url} cannot be used: {' '.join(str(error).split()) or type(error).__name__}"
