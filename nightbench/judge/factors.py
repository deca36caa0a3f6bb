"""What differs between two nights' deployments of one server, as factors that can be changed back one by one."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from nightbench.server import OptionValue

__all__ = ["ARTIFACT", "CODE", "HOST", "IMAGE", "Differences", "Recipe", "differences", "mixed"]

CODE, ARTIFACT, LIST, IMAGE = "code", "artifact", "requirement list", "image"
_BASE = "image base"
"""Factors; the others are ``package <name>`` and ``option <name>``. `LIST` is what names no package there, and `IMAGE`
what a container image holds beside the kit: what it was built on."""
REQUIREMENTS, OVERRIDES = "requirements.txt", "overrides.txt"
HOST = "host"
"""What stands for the environment of a server that runs in this interpreter's own packages."""
_CONSEQUENCES = frozenset(
    {"environment", "image", "image_digest", "kit", "lock_sha256", "network", "suite_folder", "traces"}
)
"""In a context: what follows from other factors, or concerns no server."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?=\s*(?:$|[\[=<>!~;@,]))")
_ABSENT = "none"


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that a deployment is made of, as far as it was written down."""

    files: Mapping[str, str] | None
    """The kit: text by path below the server's folder. ``None`` where that night stored none."""
    environment: str
    """``host``, or anything else for an environment made from the kit's own requirement list."""
    artifact_sha256: str
    options: Mapping[str, OptionValue]
    context: Mapping[str, str] = field(default_factory=dict)
    """As `nightbench.record.MeasurementRecord.context`."""
    image: str = ""
    """The container image it ran from, by digest or id; empty for a process, and for one yet to be built."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Between last-good and tonight, by factor, each in words: ``package torch``: ``2.12.0 -> 2.13.0``."""

    changed: Mapping[str, str]
    """What can be changed back."""
    unrestored: Mapping[str, str]
    """What cannot: the machine's own, and what was not kept."""
    unseen: frozenset[str] = frozenset()
    """Those of ``unrestored`` that are the server's, and not the machine's: equal sides say nothing of them."""


def differences(good: Recipe, tonight: Recipe, artifact_gone: str = "", image_gone: str = "") -> Differences:
    """What of ``tonight`` is not as it was. ``artifact_gone`` and ``image_gone`` say why last-good's cannot be had, if
    so. An image that was built from another kit differs by that kit's factors."""
    changed = {
        f"option {name}": f"{_shown(good.options, name)} -> {_shown(tonight.options, name)}"
        for name in sorted({*good.options, *tonight.options})
        if good.options.get(name) != tonight.options.get(name)
    }
    base = _of_base(good, tonight)
    unrestored = _of_machine(good.context, tonight.context) | base
    # Whole sides run from images of their own time; a side whose image is gone, and a mixture, is built today.
    unseen: dict[str, str] = dict(base) if image_gone else {}
    if good.artifact_sha256 != tonight.artifact_sha256:
        words = f"{good.artifact_sha256[:12]} -> {tonight.artifact_sha256[:12]}"
        if artifact_gone:
            unseen[ARTIFACT] = f"{words}: {artifact_gone}"
        else:
            changed[ARTIFACT] = words
    if good.files is None or tonight.files is None:
        unseen[CODE] = "what the server was made of was not stored"
    else:
        packages = _of_packages(good.files, tonight.files)
        if good.environment == tonight.environment == HOST:
            packages = {}  # the lists are there, and nothing was installed from them
        if HOST in {good.environment, tonight.environment}:
            unseen |= packages
        else:
            changed |= packages
        changed |= _of_code(good.files, tonight.files)
    images = _of_image(good, tonight)
    if image_gone:
        unseen |= {name: f"{words}: {image_gone}" for name, words in images.items()}
    else:
        changed |= images
    if (good.environment == HOST) != (tonight.environment == HOST):
        unseen["environment"] = f"{good.environment} -> {tonight.environment}"
    was, now = (context.get("server_version", "") for context in (good.context, tonight.context))
    if was != now and not any(factor.startswith("package ") for factor in changed):
        unseen.setdefault("server version", f"{was} -> {now}")
    return Differences(changed, unrestored | unseen, frozenset(unseen))


def mixed(good: Recipe, tonight: Recipe, factors: Collection[str]) -> Recipe:
    """Last-good with these ``factors`` as they are tonight."""
    options = dict(good.options)
    for name in {*good.options, *tonight.options}:
        if f"option {name}" in factors:
            if name in tonight.options:
                options[name] = tonight.options[name]
            else:
                options.pop(name)
    files = good.files
    if good.files is not None and tonight.files is not None:
        code = tonight.files if CODE in factors else good.files
        files = {path: text for path, text in code.items() if path not in {REQUIREMENTS, OVERRIDES}}
        files |= _mixed_lists(good.files, tonight.files, factors)
    artifact = tonight.artifact_sha256 if ARTIFACT in factors else good.artifact_sha256
    image = _mixed_image(good, tonight, factors)
    return replace(good, files=files, options=options, artifact_sha256=artifact, image=image)


def _mixed_image(good: Recipe, tonight: Recipe, factors: Collection[str]) -> str:
    """That of the side which the mixture's image is wholly of; empty where it must be built, from a mixed kit."""
    was, now = good.files or {}, tonight.files or {}
    of_image = {IMAGE} if was == now else {*_of_packages(was, now), *_of_code(was, now)}
    wanted = of_image.intersection(factors)
    return good.image if not wanted else tonight.image if wanted == of_image else ""


def _short(image: str) -> str:
    return image.rpartition("@")[2].removeprefix("sha256:")[:12]


def _of_machine(good: Mapping[str, str], tonight: Mapping[str, str]) -> dict[str, str]:
    names = sorted({*good, *tonight} - _CONSEQUENCES - {"server_version"})
    return {
        name: f"{good.get(name, _ABSENT)} -> {tonight.get(name, _ABSENT)}"
        for name in names
        if good.get(name) != tonight.get(name)
    }


def _of_code(good: Mapping[str, str], tonight: Mapping[str, str]) -> dict[str, str]:
    paths = sorted({*good, *tonight} - {REQUIREMENTS, OVERRIDES})
    other = [path for path in paths if good.get(path) != tonight.get(path)]
    return {CODE: f"{', '.join(other)} changed"} if other else {}


def _of_image(good: Recipe, tonight: Recipe) -> dict[str, str]:
    """Where the kits differ, the images do for that; where one side was no container, nothing is known of its image."""
    if not good.image or not tonight.image or good.image == tonight.image or good.files != tonight.files:
        return {}
    return {IMAGE: f"{_short(good.image)} -> {_short(tonight.image)}"}


def _of_base(good: Recipe, tonight: Recipe) -> dict[str, str]:
    if not good.image or not tonight.image or good.image == tonight.image or good.files == tonight.files:
        return {}
    return {_BASE: "images of different kits: what they were built on may differ as well"}


def _of_packages(good: Mapping[str, str], tonight: Mapping[str, str]) -> dict[str, str]:
    was, now = _pins(good.get(REQUIREMENTS, "")), _pins(tonight.get(REQUIREMENTS, ""))
    found = {
        f"package {name}": f"{_versions(name, was)} -> {_versions(name, now)}"
        for name in sorted({*was, *now} - {""})
        if was.get(name) != now.get(name)
    }
    if was.get("") != now.get("") or good.get(OVERRIDES) != tonight.get(OVERRIDES):
        found[LIST] = "what the list or its overrides say beside names and versions changed"
    return found


def _mixed_lists(good: Mapping[str, str], tonight: Mapping[str, str], factors: Collection[str]) -> dict[str, str]:
    """One side's own list where all of it is of that side, so that its environment is found and not built again."""
    differing = _of_packages(good, tonight)
    wanted = [factor for factor in differing if factor in factors]
    whole = good if not wanted else tonight if len(wanted) == len(differing) else None
    if whole is not None:
        return {name: whole[name] for name in (REQUIREMENTS, OVERRIDES) if name in whole}
    was, now = _pins(good.get(REQUIREMENTS, "")), _pins(tonight.get(REQUIREMENTS, ""))
    rest = now if LIST in wanted else was
    lines = [*rest.get("", ())]
    for name in sorted({*was, *now} - {""}):
        lines += (now if f"package {name}" in wanted else was).get(name, ())
    overrides = (tonight if LIST in wanted else good).get(OVERRIDES)
    texts = {REQUIREMENTS: "".join(f"{line}\n" for line in lines)}
    return texts if overrides is None else {**texts, OVERRIDES: overrides}


def _pins(text: str) -> dict[str, tuple[str, ...]]:
    """The lines of a requirement list by the package they name, spelt as PEP 503 does; by "" where they name none."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        stripped = line.partition(" #")[0].strip()
        if stripped and not stripped.startswith("#"):
            match = _NAME.match(stripped)
            name = re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""
            found[name] = (*found.get(name, ()), stripped)
    return found


def _versions(name: str, pins: Mapping[str, tuple[str, ...]]) -> str:
    """``2.12.0``, or all that the lines say where they say more."""
    lines = pins.get(name, ())
    plain = [line.partition("==")[2].strip() for line in lines]
    if len(lines) == 1 and plain[0] and ";" not in plain[0] and " " not in plain[0]:
        return plain[0]
    return ", ".join(lines) or _ABSENT


def _shown(options: Mapping[str, OptionValue], name: str) -> str:
    return str(options.get(name, _ABSENT))
