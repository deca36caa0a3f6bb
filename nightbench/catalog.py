"""Suites meet the registries: every name is looked up, every default filled in, every clash found."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nightbench.custom_entries import ReadSignature, Signature
from nightbench.errors import ExportError, UsageError, nearest
from nightbench.load import PeakShare
from nightbench.model import Format, ModelSpec, Precision
from nightbench.plan import Export, Plan, Point, Setup, expand, is_peak_of
from nightbench.server import Command, Endpoint, Option, OptionValue, Protocol, ServeRequest, ServerSpec
from nightbench.suite import ExternalEntry, ModelEntry, ServerEntry, Suite

__all__ = ["Catalog", "resolve"]


def _unread(path: Path) -> Signature:
    raise ExportError(f"{path}: nothing here reads signatures")


@dataclass(frozen=True, slots=True)
class Catalog:
    """All the models and servers there are."""

    models: Mapping[str, ModelSpec]
    servers: Mapping[str, ServerSpec]
    signature: ReadSignature = _unread
    """What an ONNX file of the user's takes and gives."""

    def with_external(self, suite: Suite, source: str = "suite") -> "Catalog":
        """This catalog and what ``suite`` brings from outside: servers that are running already, models of the user's.

        `UsageError` where one of them has the name of another; ``source`` names the suite in its sentence.
        """
        models, servers = dict(self.models), dict(self.servers)
        for number, sweep in enumerate(suite.sweeps):
            here = f"{source}: sweeps.{number}"
            for place, entry in enumerate(sweep.models):
                if entry.custom is not None:
                    try:
                        model = entry.custom.model(entry.name, self.signature)
                    except OSError as error:
                        raise UsageError(
                            f"{here}.models.{place}.custom: {error.filename} cannot be read: {error.strerror}; "
                            "it is among what the model is made from: correct its permissions, or remove it"
                        ) from error
                    if models.setdefault(entry.name, model) != model:
                        raise _taken("model", entry.name, f"{here}.models.{place}")
            for place, each in enumerate(sweep.servers):
                if each.external is not None:
                    server = _external(each.name, each.external)
                    if servers.setdefault(each.name, server) != server:
                        raise _taken("server", each.name, f"{here}.servers.{place}")
        return Catalog(models, servers, self.signature)


def _taken(kind: str, name: str, where: str) -> UsageError:
    return UsageError(f"{where}.name: {name!r} is the name of another {kind}; give this one a name of its own")


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
                file_format = _format(entry, server, spec, here)
                options = tuple(sorted(_options(entry, server, here).items()))
                if server.fits is not None:
                    try:
                        server.fits(spec, file_format, dict(options))
                    except UsageError as error:
                        raise UsageError(f"{here}: {error}") from error
                protocols = _protocols(entry, server, here)
                for precision in sweep.precision:
                    _check_precision(precision, file_format, spec, here)
                    export = Export(spec.name, file_format, precision, model.weights or spec.default_weights)
                    points = sweeps.setdefault(Setup(server.name, export, options), {})
                    for protocol in protocols:
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
    model = catalog.models[entry.name]
    if model.custom is not None and entry.weights is not None:
        raise UsageError(f"{where}.weights: {entry.name} is a custom model and brings its own; leave them out")
    return model


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


def _check_precision(precision: Precision, file_format: Format, model: ModelSpec, where: str) -> None:
    if precision not in file_format.precisions:
        raise UsageError(
            f"{where}: {file_format} is not to be had in {precision}; "
            f"use {', '.join(file_format.precisions)}, another format, or a sweep of its own"
        )
    given = model.custom is not None and model.custom.file is not None
    if given and file_format is Format.TORCHSCRIPT and precision is not Precision.FP32:
        raise UsageError(f"{where}: {model.name} is measured as it was exported; leave its precision at fp32")
    if given and file_format in {Format.ONNX, Format.TENSORRT} and precision is Precision.FP16:
        raise UsageError(
            f"{where}: {model.name} is an ONNX file, and {file_format} in fp16 is exported from PyTorch; "
            "leave its precision at fp32, or give a 'factory' instead of the file"
        )


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
