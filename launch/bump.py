"""Going to another release of an official image: its digest, asked of its registry, written where it is named.

The engine asks, so that its logins, proxies and mirrors count.
"""

import re
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import servers.official
from launch.engine import engine, refusal
from nightbench.errors import UsageError, nearest
from servers.official import OFFICIAL, OfficialImage

__all__ = ["Bumped", "bump", "rewritten"]


@dataclass(frozen=True, slots=True)
class Bumped:
    """An image as it was named, and as it is named now."""

    name: str
    before: OfficialImage
    after: OfficialImage


def bump(name: str, tag: str | None, url: str, file: Path | None = None) -> Bumped:
    """Ask the registry for the digest of ``tag``, by default the present one, and write both into ``file``.

    `UsageError` for an unknown name or a file that cannot be written; `DeploymentError` where the registry has no such
    image or does not answer.
    """
    import docker.errors

    if name not in OFFICIAL:
        raise UsageError(f"--bump: {name!r} is no official image; {nearest(name, OFFICIAL)}")
    file = file or Path(servers.official.__file__)
    before = OFFICIAL[name]
    tagged = f"{before.repository}:{tag or before.tag}"
    try:
        with closing(engine(url).client) as client:
            digest = str(client.images.get_registry_data(tagged).id)
    except (docker.errors.DockerException, OSError) as error:
        raise refusal(error, image=tagged, url=url) from error
    after = OfficialImage(before.repository, tag or before.tag, digest)
    try:
        file.write_text(rewritten(file.read_text(encoding="utf-8"), name, before, after), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--bump: {file} cannot be written ({error.strerror}); write there {after.ref}") from error
    return Bumped(name, before, after)


def rewritten(text: str, name: str, before: OfficialImage, after: OfficialImage) -> str:
    """``servers/official.py`` with the one image changed. `UsageError` where it does not stand there as expected."""
    entry = re.compile(
        rf'("{re.escape(name)}": OfficialImage\(\s*"{re.escape(before.repository)}",\s*)'
        rf'"{re.escape(before.tag)}"(,\s*)"{re.escape(before.digest)}"'
    )
    new, count = entry.subn(rf'\g<1>"{after.tag}"\g<2>"{after.digest}"', text)
    if count != 1:
        raise UsageError(f"--bump: {name} does not stand in servers/official.py as {before.ref}; change it by hand")
    return new
