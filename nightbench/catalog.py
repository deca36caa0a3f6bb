"""Suites meet the registries: every name is looked up, every default filled in, every clash found."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nightbench.errors import UsageError, nearest
from nightbench.load import PeakShare
from nightbench.model import Format, ModelSpec
from nightbench.plan import Export, Plan, Point, Setup, expand, is_peak_of
from nightbench.server import Command, Endpoint, Option, OptionValue, Protocol, ServeRequest, ServerSpec
from nightbench.suite import ExternalEntry, ModelEntry, ServerEntry, Suite

__all__ = ["Catalog", "resolve"]


@dataclass(frozen=True, slots=True)
class Catalog:
    """All the models and servers there are."""

    models: Mapping[str, ModelSpec]
    servers: Mapping[str, ServerSpec]

    def with_external(self, suite: Suite, source: str = "suite") -> "Catalog":
        """This catalog and the servers that ``suite`` says are running already.

        `UsageError` where one of them has the name of another server; ``source`` names the suite in its sentence.
        """
        servers = dict(self.servers)
        for number, sweep in enumerate(suite.sweeps):
            for place, entry in enumerate(sweep.servers):
                if entry.external is None:
                    continue
                spec = _external(entry.name, entry.external)
                if servers.setdefault(entry.name, spec) != spec:
                    raise UsageError(
                        f"{source}: sweeps.{number}.servers.{place}.name: {entry.name!r} is the name of another "
                        "server; give this one a name of its own"
                    )
        return Catalog(self.models, servers)


def _external(name: str, entry: ExternalEntry) -> ServerSpec:
    """What identifies it stands among its options, and with them in the identity of its series."""
    return ServerSpec(
        name=name,
        title="running already",
        folder=Path(),
        distribution="",
        formats=tuple(Format),
        protocols={entry.protocol: ""},
        command=_nothing,
        ports=(),
        options=(
            Option("url", entry.url, "Where it is running."),
            Option("model", entry.model, "Its name for the model; empty for ours."),
        ),
        ready_timeout_s=10.0,
        start_estimate_s=0.0,
        external=Endpoint(entry.protocol, entry.host, entry.port, entry.model, entry.path),
    )


def _nothing(_: ServeRequest) -> Command:
    raise UsageError("a server that is running already is not started")


def resolve(suite: Suite, catalog: Catalog, source: str) -> Plan:
    """The plan of a suite: what will be measured, in order.

    Raises:
        UsageError: a name is unknown, a server cannot do what is asked, two cells are the same, or a share of a peak
            is asked for that no search looks for.
    """
    catalog = catalog.with_external(suite, source)
    sweeps: dict[Setup, dict[Point, str]] = {}
    for number, sweep in enumerate(suite.sweeps):
        where = f"{source}: sweeps.{number}"
        for position, model in enumerate(sweep.models):
            spec = _model(model, catalog, f"{where}.models.{position}")
            if spec.language and sweep.batches != (1,):
                raise UsageError(f"{where}.batches: {spec.name} answers one request at a time; leave the batches out")
            for place, entry in enumerate(sweep.servers):
                here = f"{where}.servers.{place}"
                server = _server(entry, catalog, here)
                export = Export(
                    spec.name,
                    _format(entry, server, spec, here),
                    sweep.precision,
                    model.weights or spec.default_weights,
                )
                setup = Setup(server.name, export, tuple(sorted(_options(entry, server, here).items())))
                points = sweeps.setdefault(setup, {})
                for protocol in _protocols(entry, server, here):
                    for batch in sweep.batches:
                        for load in (each.load for each in sweep.loads):
                            _add(points, (protocol, batch, load), here, f"{server.name} on {spec.name}")
    for setup, points in sweeps.items():
        _check_peaks(points, f"{setup.server} on {setup.export.model}")
    return expand(sweeps, suite.rounds, suite.seed)


def _check_peaks(points: Mapping[Point, str], who: str) -> None:
    """Every share of a peak must have the one search that its rate is taken from."""
    for point, where in points.items():
        if not isinstance(point[2], PeakShare):
            continue
        searches = [each for each in points if is_peak_of(each, point)]
        if len(searches) != 1:
            protocol, batch, load = point
            there = "two searches for it are" if searches else "no search for it is"
            remedy = "keep one" if searches else "add the load 'search: peak' for the same servers and batches"
            raise UsageError(
                f"{where}: {who} ({protocol}, batch {batch}) shall be sent {load.label}, but {there} planned; {remedy}"
            )


def _add(points: dict[Point, str], point: Point, where: str, who: str) -> None:
    if point in points:
        protocol, batch, load = point
        raise UsageError(
            f"{where}: the cell {who} ({protocol}, batch {batch}, {load.label}) is planned twice, "
            f"first by {points[point].rpartition(': ')[2]}; remove one"
        )
    points[point] = where


def _model(entry: ModelEntry, catalog: Catalog, where: str) -> ModelSpec:
    if entry.name not in catalog.models:
        raise UsageError(f"{where}: model {entry.name!r} is unknown; {nearest(entry.name, catalog.models)}")
    return catalog.models[entry.name]


def _server(entry: ServerEntry, catalog: Catalog, where: str) -> ServerSpec:
    if entry.name not in catalog.servers:
        raise UsageError(f"{where}: server {entry.name!r} is unknown; {nearest(entry.name, catalog.servers)}")
    return catalog.servers[entry.name]


def _format(entry: ServerEntry, server: ServerSpec, model: ModelSpec, where: str) -> Format:
    if entry.format is not None and entry.format not in server.formats:
        formats = ", ".join(server.formats)
        raise UsageError(f"{where}.format: {server.name} cannot serve {entry.format.value!r}; use one of: {formats}")
    # A model that has no format of the server's, and a format that the model does not have, are the same mistake.
    possible = [each for each in server.formats if each in model.formats and entry.format in {None, each}]
    if not possible:
        taken = entry.format or ", ".join(server.formats) or "a format that is not made yet"
        raise UsageError(
            f"{where}: {server.name} takes {taken}, and {model.name} is to be had as {', '.join(model.formats)}; "
            "choose another server or model"
        )
    return possible[0]


def _protocols(entry: ServerEntry, server: ServerSpec, where: str) -> tuple[Protocol, ...]:
    chosen = entry.protocols or (next(iter(server.protocols)),)
    for protocol in chosen:
        if protocol not in server.protocols:
            raise UsageError(
                f"{where}.protocols: {server.name} does not speak {protocol.value!r}; "
                f"use one of: {', '.join(server.protocols)}"
            )
    return chosen


def _options(entry: ServerEntry, server: ServerSpec, where: str) -> dict[str, OptionValue]:
    known = {option.name: option for option in server.options}
    for name, value in entry.options.items():
        if name not in known:
            raise UsageError(f"{where}.options: {server.name} has no option {name!r}; {nearest(name, known)}")
        _check_option(known[name], value, f"{where}.options.{name}")
    options = server.resolve(entry.options)
    if server.check is not None:
        try:
            server.check(options)
        except UsageError as error:
            raise UsageError(f"{where}.options: {error}") from error
    return options


def _check_option(option: Option, value: OptionValue, where: str) -> None:
    kind = type(option.default)
    # bool is an int to Python, but `instances: true` is a mistake, and 1 is a fine float.
    fits = type(value) is kind or (kind is float and type(value) is int)
    if not fits:
        raise UsageError(f"{where}: {value!r} is wrong; give a {kind.__name__} such as {option.default!r}")
    if option.choices and value not in option.choices:
        choices = ", ".join(map(str, option.choices))
        raise UsageError(f"{where}: {value!r} is not possible; use one of: {choices}")
    if option.minimum is not None and isinstance(value, int | float) and value < option.minimum:
        raise UsageError(f"{where}: {value!r} is too small; give at least {option.minimum:g}")
