"""`nightbench images`."""

import json as jsonlib
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from dashboards.report.format import size
from flows.console import open_console, table
from flows.registry import load_catalog
from launch.bump import bump as bump_image
from launch.engine import available, engine_url
from launch.images import Built, built_images, built_tag, ensure_image, remove_images
from nightbench.errors import UsageError, nearest
from nightbench.server import ServerSpec
from nightbench.settings import Settings
from servers.official import OFFICIAL

__all__ = ["images"]


def images(
    *,
    build: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())] = (),
    name: str | None = None,
    bump: str | None = None,
    tag: str | None = None,
    prune: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """List the images that servers run from in containers, and which of them are here.

    Parameters
    ----------
    build
        Build, or pull, the images of these servers; `all` for every one that is built here.
    name
        Print the name of this server's image and nothing else, for `docker run`.
    bump
        Ask the registry for the digest of an official image, and write it where the image is named.
    tag
        With `--bump`: go to this release.
    prune
        Remove the images that were built here and are of no present requirement list.
    json
        Print JSON instead of a table.
    """
    settings = Settings.from_environment()
    if sum((bool(build), name is not None, bump is not None, prune)) > 1:
        raise UsageError("--build, --name, --bump, --prune: choose one")
    if tag is not None and bump is None:
        raise UsageError("--tag: goes with --bump only; write `nightbench images --bump NAME --tag TAG`")
    specs = {name: spec for name, spec in load_catalog(settings).servers.items() if not spec.in_process}
    console = open_console()
    if name is not None:
        (spec,) = _chosen("--name", (name,), specs)
        print(spec.image or built_tag(spec, settings.image_base))
    elif bump is not None:
        done = bump_image(bump, tag, engine_url())
        console.print(f"{done.before.ref} is now {done.after.ref}", markup=False, soft_wrap=True)
    elif build:
        _build(_chosen("--build", build, specs), settings, console)
    elif prune:
        _prune(specs, settings, console)
    else:
        _list(specs, settings, console, json=json)


def _chosen(option: str, names: tuple[str, ...], specs: dict[str, ServerSpec]) -> list[ServerSpec]:
    if names == ("all",):
        return [spec for spec in specs.values() if not spec.image]
    for name in names:
        if name not in specs:
            raise UsageError(f"{option}: {name!r} is no server that runs in a container; {nearest(name, specs)}")
    return [specs[name] for name in names]


def _build(specs: list[ServerSpec], settings: Settings, console: Console) -> None:
    for spec in specs:
        log = settings.home / "images" / f"{spec.name}.log"
        image = ensure_image(
            spec,
            engine_url(),
            log,
            lambda text: console.print(text, style="dim", markup=False, highlight=False),
            base=settings.image_base,
        )
        console.print(f"{spec.name}: {image.ref}, {image.digest}", markup=False, highlight=False, soft_wrap=True)


def _prune(specs: dict[str, ServerSpec], settings: Settings, console: Console) -> None:
    current = {built_tag(spec, settings.image_base) for spec in specs.values() if not spec.image}
    doomed = [image for image in built_images(engine_url()) if image.ref not in current]
    for image, kept in remove_images(doomed, engine_url()):
        said = f"kept {image.ref}: {kept}" if kept else f"removed {image.ref}, {size(image.size_bytes)}"
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    if not doomed:
        console.print("nothing to remove")


def _list(specs: dict[str, ServerSpec], settings: Settings, console: Console, *, json: bool) -> None:
    absent = available()
    here = {} if absent else {image.ref: image for image in built_images(engine_url(), *(_official(specs)))}
    found = [_described(spec, settings, here) for spec in specs.values()]
    if json:
        print(jsonlib.dumps({"engine": absent or engine_url(), "images": found}, indent=2))
        return
    rows = [
        {
            "server": each["server"],
            "image": each["image"].partition("@")[0],
            "from": each["from"],
            "here": size(each["size_bytes"]) if each["size_bytes"] else "-",
            "digest": each["digest"].removeprefix("sha256:")[:12] or "-",
        }
        for each in found
    ]
    console.print(table("images", rows))
    if absent:
        console.print(absent, markup=False, soft_wrap=True)


def _official(specs: dict[str, ServerSpec]) -> list[str]:
    return [spec.image for spec in specs.values() if spec.image]


def _described(spec: ServerSpec, settings: Settings, here: dict[str, Built]) -> dict[str, Any]:
    ref = spec.image or built_tag(spec, settings.image_base)
    pinned = all(each.pinned for each in OFFICIAL.values() if each.ref == ref)
    found = here.get(ref)
    return {
        "server": spec.name,
        "image": ref,
        "from": "its Dockerfile" if not spec.image else "its registry" if pinned else "its registry (digest not set)",
        "digest": found.digest if found else "",
        "size_bytes": found.size_bytes if found else None,
    }
