"""A suite with some of it changed for one run: fewer servers, other models, shorter windows.

The outcome is another suite, with a name of its own: nights are compared with nights of the same suite only, and what
somebody tries by hand must not pass for one of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any

import yaml

from nightbench.catalog import Catalog
from nightbench.errors import UsageError, nearest
from nightbench.model import Format
from nightbench.server import Protocol, ServerSpec
from nightbench.suite import Suite

__all__ = ["Changes", "changed"]

_MOST_ROUNDS = 100
_LONGEST_S = 3600.0

Entry = str | dict[str, Any]
"""A server or a model in a sweep, as it is written there: just its name, or a mapping."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is asked for in place of the suite's own; empty, or 0, leaves that as it is."""

    servers: tuple[str, ...] = ()
    """Only these. One that no sweep has joins the first, with its defaults."""
    models: tuple[str, ...] = ()
    """Likewise."""
    formats: tuple[str, ...] = ()
    """Only these, and each of them on every server that takes it."""
    protocols: tuple[str, ...] = ()
    """Likewise."""
    batches: tuple[int, ...] = ()
    rounds: int = 0
    duration_s: float = 0.0

    @property
    def given(self) -> dict[str, object]:
        """What is not left as it is, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value}


def changed(suite: Suite, text: str, changes: Changes, catalog: Catalog) -> str:
    """The text of ``suite``, which ``text`` is, with ``changes``; unchanged, the very text.

    Works on what is written, so that paths in it mean what they meant.

    Raises:
        UsageError: a value is unknown or out of range, or nothing is left to measure.
    """
    known, given = catalog.with_external(suite), changes.given
    _check(changes, known)
    if not given:
        return text
    data: dict[str, Any] = yaml.safe_load(text)
    data["sweeps"] = _chosen(data["sweeps"], "servers", changes.servers)
    data["sweeps"] = _chosen(data["sweeps"], "models", changes.models)
    data["sweeps"] = _able(data["sweeps"], changes, known.servers)
    for sweep in data["sweeps"]:
        if changes.batches:
            sweep["batches"] = list(changes.batches)
    if changes.rounds:
        data["rounds"] = changes.rounds
    if changes.duration_s:
        data["measure"] = {**data.get("measure", {}), "duration_s": changes.duration_s}
    data["name"] = f"{suite.name}-custom-{_short_hash(given)}"
    words = "; ".join(f"{name}: {_written(value)}" for name, value in given.items())
    return f"# The suite {suite.name}, changed for this run: {words}.\n{yaml.safe_dump(data, sort_keys=False)}"


def _check(changes: Changes, known: Catalog) -> None:
    _known("servers", changes.servers, known.servers)
    _known("models", changes.models, known.models)
    _known("formats", changes.formats, [each.value for each in Format])
    _known("protocols", changes.protocols, [each.value for each in Protocol])
    for batch in changes.batches:
        if batch < 1:
            raise UsageError(f"batches: {batch} is wrong; give whole numbers from 1")
    if not 0 <= changes.rounds <= _MOST_ROUNDS:
        raise UsageError(f"rounds: {changes.rounds} is wrong; give 1 to {_MOST_ROUNDS}, or 0 for the suite's own")
    if not 0 <= changes.duration_s <= _LONGEST_S:
        raise UsageError(
            f"duration_s: {changes.duration_s:g} is wrong; give up to {_LONGEST_S:g} seconds, or 0 for the suite's own"
        )


def _known(field: str, values: Iterable[str], known: Iterable[str]) -> None:
    names = set(known)
    for value in values:
        if value not in names:
            raise UsageError(f"{field}: {value!r} is unknown; {nearest(value, names)}")


def _name(entry: Entry) -> str:
    return entry if isinstance(entry, str) else str(entry["name"])


def _chosen(sweeps: list[dict[str, Any]], key: str, wanted: tuple[str, ...]) -> list[dict[str, Any]]:
    """The sweeps with only the entries of ``wanted`` under ``key``; those that have none are left out."""
    if not wanted:
        return sweeps
    there = {_name(entry) for sweep in sweeps for entry in sweep[key]}
    added = [name for name in dict.fromkeys(wanted) if name not in there]
    kept = []
    for number, sweep in enumerate(sweeps):
        entries = [entry for entry in sweep[key] if _name(entry) in wanted] + (added if number == 0 else [])
        if entries:
            kept.append({**sweep, key: entries})
    return kept


def _able(sweeps: list[dict[str, Any]], changes: Changes, servers: Mapping[str, ServerSpec]) -> list[dict[str, Any]]:
    """The sweeps with the formats and protocols asked for, on those servers that have them."""
    if not (changes.formats or changes.protocols):
        return sweeps
    kept = []
    for sweep in sweeps:
        entries = [made for entry in sweep["servers"] for made in _variants(entry, changes, servers[_name(entry)])]
        if entries:
            kept.append({**sweep, "servers": entries})
    if not kept:
        wanted = " or ".join(", ".join(each) for each in (changes.formats, changes.protocols) if each)
        named = sorted({_name(entry) for sweep in sweeps for entry in sweep["servers"]})
        field = "formats" if changes.formats else "protocols"
        raise UsageError(
            f"{field}: none of {', '.join(named)} can do {wanted}; `nightbench servers` says what each can"
        )
    return kept


def _variants(entry: Entry, changes: Changes, spec: ServerSpec) -> list[dict[str, Any]]:
    """``entry`` once for each format; none if the server cannot do what is asked."""
    base: dict[str, Any] = {"name": entry} if isinstance(entry, str) else dict(entry)
    if changes.protocols:
        spoken = [each for each in changes.protocols if Protocol(each) in spec.protocols]
        if not spoken:
            return []
        # A server that is running already has one protocol, which its entry names elsewhere.
        base |= {} if spec.external else {"protocols": spoken}
    if not changes.formats:
        return [base]
    return [{**base, "format": each} for each in changes.formats if Format(each) in spec.formats]


def _short_hash(given: Mapping[str, object]) -> str:
    """The same for the same changes: runs that were asked for alike are one series."""
    alike = {name: sorted(value) if isinstance(value, tuple) else value for name, value in given.items()}
    plain = yaml.safe_dump(alike)
    return sha256(plain.encode()).hexdigest()[:6]


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
