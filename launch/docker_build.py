"""One ``docker build``, by the command line: BuildKit, which alone lends secrets to a step, is not in Docker's SDK."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from launch.labels import OWNER, Owner
from launch.logs import readable
from launch.output import lines_of
from nightbench.errors import DeploymentError

__all__ = ["Build", "build_failure", "docker_build"]

_STEP = re.compile(r"#\d+ \[[^]]*\d+/\d+\] (.*)")
_LINE = re.compile(r"(?:#\d+ )?(?:\d+\.\d+ )?(.*)")
_LONGEST = 400
_WITHOUT_BUILDX = 23
"""From this version on, BuildKit needs the plug-in; before, the client drives it by itself."""


@dataclass(frozen=True, slots=True)
class Build:
    """All that one build is told."""

    name: str
    """Of the server, for messages."""
    tag: str
    dockerfile: Path
    context: Path
    arguments: Mapping[str, str]
    """Build arguments: seen by everyone, for a step that uses one is named with it in the history."""
    secrets: Mapping[str, Path]
    """Files that a step may read and that no layer keeps, by the name they have below ``/run/secrets``."""
    labels: Mapping[str, str]


def docker_build(
    build: Build, url: str, log: Path, on_event: Callable[[str], None], should_stop: Callable[[], bool]
) -> None:
    """Build it at the engine at ``url``. `DeploymentError` (``no_image``) in a sentence; `Stopped` if told to stop.

    The build has this machine's network, so that an address in pip's settings means there what it means here.
    """
    argv = (
        *(_client(), "build", "--progress", "plain", "--network", "host"),
        *("--file", str(build.dockerfile), "--tag", build.tag),
        *(part for name, value in build.arguments.items() for part in ("--build-arg", f"{name}={value}")),
        *(part for name, path in build.secrets.items() for part in ("--secret", f"id={name},src={path}")),
        *(part for name, value in build.labels.items() for part in ("--label", f"{name}={value}")),
        str(build.context),
    )
    env = {
        **os.environ,
        "DOCKER_HOST": url,
        "DOCKER_BUILDKIT": "1",
        # Provenance would tell of this machine, and make an index of what is one image.
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        OWNER: Owner.current().label,
    }
    env.pop("DOCKER_CONTEXT", None)  # it goes before DOCKER_HOST
    said: list[str] = []
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own: a plug-in must end with it
        ) as process,
    ):
        try:
            stopped = f"stopped while the image of {build.name} was being built"
            for line in lines_of(process.stdout, should_stop, stopped) if process.stdout else ():
                file.write(line)
                file.flush()
                said.append(line)
                if step := _STEP.match(readable(line)):
                    on_event(f"image of {build.name}: {step[1].split(' --mount')[0][:100]}")
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode != 0:
        text = "".join(said)
        raise DeploymentError(
            "no_image", f"the image of {build.name} could not be built: {build_failure(text)}", "".join(said[-20:])
        )


def build_failure(output: str) -> str:
    """What went wrong, from what a build printed: what a step itself called an error, else Docker's, else the last."""
    lines = [_LINE.match(line.strip()) for line in readable(output).splitlines()]
    texts = [match[1].strip() for match in lines if match and match[1].strip()]
    for text in texts:
        if "no space left on device" in text.lower():
            return "the disk of the engine is full; `docker system prune` makes room"
    own = [
        text for text in texts if re.match(r"(ERROR|E|error): ", text) and "did not complete successfully" not in text
    ]
    told = own[0] if own else next(iter(texts[-1:]), "it printed nothing")
    return re.sub(r"^(ERROR|E|error): ", "", told)[:_LONGEST]


def _client() -> str:
    """A ``docker`` that drives BuildKit: of several on the PATH, the first that can."""
    found = False
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        program = shutil.which("docker", path=folder)
        if program is None:
            continue
        found = True
        if _says(program, "buildx", "version") is not None:
            return program
        version = _says(program, "--version")
        number = re.search(r"(\d+)\.\d", version or "")
        if number and int(number[1]) < _WITHOUT_BUILDX:
            return program
    raise DeploymentError(
        "no_image",
        "the docker client here cannot build: BuildKit's plug-in is missing; install it (Debian: docker-buildx)"
        if found
        else "there is no docker client to build images with; install it (Debian: docker-cli and docker-buildx)",
    )


def _says(*argv: str) -> str | None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout if done.returncode == 0 else None
