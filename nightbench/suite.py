"""Suite files: what a user writes to say what a night measures."""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import SplitResult, urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from nightbench.custom_entries import CustomEntry
from nightbench.errors import UsageError, nearest
from nightbench.judge.policy import JudgePolicy
from nightbench.load_entries import Count, LoadEntry, Positive, Strict
from nightbench.model import Format, Precision
from nightbench.precision import Precision as HalfWidths
from nightbench.server import Launcher, OptionValue, Protocol

__all__ = [
    "ExportLimits",
    "ExternalEntry",
    "LoadEntry",
    "Measure",
    "ModelEntry",
    "ServerEntry",
    "Suite",
    "Sweep",
    "load_suite",
    "parse_suite",
]

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
HalfWidth = Annotated[float, Field(gt=0, lt=1)]


class _Named(Strict):
    """An entry that may be written as just its name."""

    name: Name

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value


class ModelEntry(_Named):
    custom: CustomEntry | None = None
    """Given, it is a model of the user's own, and has this entry's name."""
    weights: str | None = None
    """``random``, or a hub id; by default what the model itself says."""

    @model_validator(mode="after")
    def _has_its_weights(self) -> Self:
        if self.custom is not None and self.weights is not None:
            raise ValueError("a custom model brings its weights along; leave out 'weights'")
        return self


class ExternalEntry(Strict):
    """A server that is running already, and stays."""

    url: str
    protocol: Protocol
    model: str = ""
    """Its name for the model; by default ours."""
    allow_remote: bool = False
    """Whether it may be another machine than this."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.protocol in {Protocol.IN_PROCESS, Protocol.OPAQUE_HTTP}:
            raise ValueError(f"{self.protocol} is no way to ask for predictions over a wire; name another protocol")
        if not self.allow_remote and not _is_loopback(self.host):
            raise ValueError(
                f"{self.host} is not this machine's loopback, and load on somebody else's server can do harm; "
                "add 'allow_remote: true' if you may do that"
            )
        return self

    @property
    def _parts(self) -> SplitResult:
        try:
            parts = urlsplit(self.url)
            whole = parts.scheme in {"http", "grpc"} and parts.hostname and parts.port
        except ValueError:
            whole = None
        if not whole or parts.username is not None or parts.fragment:
            raise ValueError(f"the url {self.url!r} is not http://HOST:PORT or http://HOST:PORT/PATH; write it so")
        return parts

    @property
    def host(self) -> str:
        return str(self._parts.hostname)

    @property
    def port(self) -> int:
        return self._parts.port or 0

    @property
    def path(self) -> str:
        """With its query; empty where the url names none."""
        path, query = self._parts.path, self._parts.query
        if query:
            return f"{path or '/'}?{query}"
        return "" if path == "/" else path


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ServerEntry(_Named):
    external: ExternalEntry | None = None
    """Given, the server has this entry's name and nothing is started."""
    format: Format | None = None
    """By default the first format the server takes."""
    protocols: Annotated[tuple[Protocol, ...], Field(min_length=1)] | None = None
    """By default the first protocol the server speaks."""
    options: dict[str, OptionValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ours_to_set_up(self) -> Self:
        if self.external is not None and (self.protocols is not None or self.options):
            raise ValueError("an external server is set up already; leave out 'protocols' and 'options'")
        return self


class PrecisionEntry(Strict):
    """How narrow the intervals of p50 and p99 shall be; what is not named is not asked."""

    p50: HalfWidth | None = None
    p99: HalfWidth | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.p50 is None and self.p99 is None:
            raise ValueError("a precision names p50, p99 or both, as in '{p50: 0.02, p99: 0.1}'")
        return self


class StreamBounds(Strict):
    """What a streamed answer must keep to count as goodput."""

    ttft_ms: Positive | None = None
    itl_ms: Positive | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.ttft_ms is None and self.itl_ms is None:
            raise ValueError("a bound names ttft_ms, itl_ms or both, as in '{ttft_ms: 200, itl_ms: 50}'")
        return self


class Measure(Strict):
    """How each cell is measured, and for how long."""

    warmup_s: Positive = 2.0
    """The least that is cut from the start; the stationarity rule may cut more."""
    duration_s: Positive = 10.0
    """How long requests are sent after ``warmup_s``: at most, where a ``precision`` is asked for."""
    timeout_s: Positive = 10.0
    precision: PrecisionEntry | None = None
    """Measuring ends as soon as figures are known this well."""
    workers: Count = 1
    """Processes of the load generator that share each load."""
    calibrate: bool = True
    """Whether the load generator itself is measured too, against a server that does nothing."""
    slo: StreamBounds | None = None
    """Streamed answers only."""

    @property
    def half_widths(self) -> HalfWidths | None:
        """The ``precision`` asked for."""
        return None if self.precision is None else HalfWidths(self.precision.p50, self.precision.p99)

    @property
    def stream_slo(self) -> Mapping[str, float]:
        """The bounds of ``slo`` by name, as far as given."""
        return {} if self.slo is None else self.slo.model_dump(exclude_none=True)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Sweep(Strict):
    """Every combination of what it lists."""

    models: Annotated[tuple[ModelEntry, ...], Field(min_length=1)]
    servers: Annotated[tuple[ServerEntry, ...], Field(min_length=1)]
    precision: Annotated[tuple[Precision, ...], Field(min_length=1), BeforeValidator(_listed)] = (Precision.FP32,)
    """One, or a list. Every server's format must be to be had in each."""
    batches: Annotated[tuple[Count, ...], Field(min_length=1)] = (1,)
    loads: Annotated[tuple[LoadEntry, ...], Field(min_length=1)]


class ExportLimits(Strict):
    """What the process that exports one model may use. One that takes more is ended, and its cells are missing."""

    memory_gib: Positive = 8.0
    timeout_s: Positive = 900.0


class Suite(Strict):
    """One suite file. ``docs/suites.md`` explains each key."""

    name: Name
    description: str = ""
    version: Count = 1
    """Raise it when the way of measuring changes: nights of other versions are never compared."""
    rounds: Count = 3
    seed: Seed = 0
    threads: Count = 1
    """Intra-op threads of every server's runtime."""
    memory_gib: Positive | None = None
    """Memory limit of one deployment."""
    launcher: Launcher = Launcher.AUTO
    """What starts the servers."""
    export: ExportLimits = ExportLimits()
    measure: Measure = Measure()
    parity_batches: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 4, 8)
    judge: JudgePolicy = JudgePolicy()
    sweeps: Annotated[tuple[Sweep, ...], Field(min_length=1)]


class _UniqueKeyLoader(yaml.SafeLoader):
    """Plain YAML keeps the last of two equal keys without a word; here that is a mistake to report."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for node_of_key, _ in node.value:
            key = self.construct_object(node_of_key, deep=True)
            if key in seen:
                problem = f"key {key!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, node_of_key.start_mark)
            seen.append(key)
        return super().construct_mapping(node, deep)


def load_suite(path: Path) -> tuple[Suite, str]:
    """Read a suite file; also its text, which goes into the run's provenance.

    Raises:
        UsageError: the file cannot be read, is no YAML mapping, breaks the schema, or names a trace that cannot be
            read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; `nightbench suites` lists suites") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text; save it as UTF-8") from error
    return parse_suite(text, str(path), path.parent), text


def parse_suite(text: str, source: str, folder: Path = Path()) -> Suite:
    """Check ``text`` against the schema; ``source`` names it in the sentence of a `UsageError`.

    Paths in it count from ``folder``.
    """
    try:
        data = yaml.load(text, _UniqueKeyLoader)  # noqa: S506 - a SafeLoader that also refuses twin keys
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise UsageError(f"{source}{where}: is not valid YAML: {problem}; correct that line") from error
    if not isinstance(data, dict):
        kind = "empty" if data is None else f"a {type(data).__name__}"
        raise UsageError(f"{source}: is {kind}, not a mapping; start it with `name:` and `sweeps:`")
    try:
        return Suite.model_validate(data, context={"folder": folder})
    except ValidationError as error:
        raise UsageError(f"{source}: {_sentence(error)}") from error


def _sentence(error: ValidationError) -> str:
    """The first complaint as one sentence: field, value, remedy.

    Misspelt keys come first, for they are what makes others look missing.
    """
    problems = error.errors(include_url=False)
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    places = list(first["loc"])
    field = ".".join(map(str, places))
    match first["type"]:
        case "extra_forbidden":
            known = _known_keys(places[:-1])
            return f"{field}: unknown key {str(places[-1])!r}; {nearest(str(places[-1]), known)}"
        case "missing":
            return f"{field}: is missing; add the key {str(places[-1])!r}"
        case "value_error":
            return f"{field}: {first['ctx']['error']!s}, not {first['input']!r}"
        case "enum":
            choices = str(first["ctx"]["expected"]).replace(" or ", ", ").replace("'", "").split(", ")
            return f"{field}: {first['input']!r} is unknown; {nearest(str(first['input']), choices)}"
        case _:
            # Pydantic's own words, as far as they go on from "it".
            message = first["msg"].removeprefix("Input ").removeprefix("String ").partition(", unable to parse")[0]
            message = message.replace("valid tuple", "list")
            return f"{field}: {first['input']!r} is wrong; it {message}"


def _known_keys(places: list[int | str]) -> set[str]:
    """The keys a suite may have at ``places``."""
    model: type[BaseModel] = Suite
    for place in places:
        if isinstance(place, str) and place in model.model_fields:
            model = _nested(model.model_fields[place]) or model
    return set(model.model_fields)


def _nested(field: FieldInfo) -> type[BaseModel] | None:
    pending = [field.annotation]
    while pending:
        annotation = pending.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
        pending.extend(getattr(annotation, "__args__", ()))
    return None
