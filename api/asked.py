"""What may be asked: every parameter and body, with its bounds."""

import re
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from nightbench.access import NAME, Role
from nightbench.judge.series import Metric
from nightbench.model import Format, Precision
from nightbench.server import Protocol

__all__ = [
    "AuditQuery",
    "BenchmarkAsked",
    "InferenceAsked",
    "KeyAsked",
    "KeyId",
    "KeyQuery",
    "MeasurementQuery",
    "MetricQuery",
    "RunId",
    "RunQuery",
    "SeriesQuery",
    "ServerAsked",
]

_MOST = 200
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", max_length=128)]
_Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", max_length=64)]
_Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_CellAfter = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}:[A-Za-z0-9._-]{1,128}$")]
_PointAfter = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}:[0-9a-f]{32}:[a-z0-9_]{1,32}$")]
_Hardware = Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,200}$", max_length=200)]
KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{10}$")]


def _written_out(value: object) -> object:
    """Pydantic takes bare numbers for seconds since 1970, too: the year 2026 would be half past midnight."""
    if isinstance(value, str) and not re.match(r"\d{4}-\d\d-\d\d[Tt]", value):
        raise ValueError("write it as 2026-11-20T03:00:00Z")
    return value


def _whole(value: object) -> object:
    """To JSON Schema 1.0 is an integer and "1" is none; to Python ``True`` is one."""
    if isinstance(value, str | bool):
        raise ValueError("give a whole number")  # noqa: TRY004 - pydantic's own word for a wrong value
    return value


_Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
_Whole = Annotated[int, BeforeValidator(_whole)]
_AFTER = "The `next` of the page before."
_SINCE = "Only of runs that began then or later; by default 30 days ago, unless a run or a fingerprint is named."
_UNTIL = "Only of runs that began before then."


class _Strict(BaseModel):
    """Unknown names are refused: a filter that was misspelt must not be taken for none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Paged(_Strict):
    limit: int = Field(default=50, ge=1, le=_MOST, description="How many at most.")


class RunQuery(_Paged):
    after: RunId | None = Field(default=None, description=_AFTER)
    suite: _Word | None = None
    hardware: _Hardware | None = None
    status: Literal["completed", "failed", "cancelled", "unfinished"] | None = None
    since: _Moment | None = Field(default=None, description="Only runs that began then or later.")
    until: _Moment | None = Field(default=None, description="Only runs that began before then.")


class SeriesQuery(_Paged):
    run: RunId | None = None
    fingerprint: _Fingerprint | None = None
    suite: _Word | None = None
    server: _Word | None = None
    model: _Word | None = None
    format: Format | None = None
    precision: Precision | None = None
    protocol: Protocol | None = None
    batch: int | None = Field(default=None, ge=1, lt=2**31)
    since: _Moment | None = Field(default=None, description=_SINCE)
    until: _Moment | None = Field(default=None, description=_UNTIL)


class MeasurementQuery(SeriesQuery):
    after: _CellAfter | None = Field(default=None, description=_AFTER)
    doubted: bool | None = Field(default=None, description="Only cells that are doubted as a whole, or only others.")


class MetricQuery(SeriesQuery):
    after: _PointAfter | None = Field(default=None, description=_AFTER)
    metric: Metric | None = None


class KeyQuery(_Paged):
    after: KeyId | None = Field(default=None, description=_AFTER)


class AuditQuery(_Paged):
    after: int | None = Field(default=None, ge=1, lt=2**63, description=_AFTER)


class BenchmarkAsked(_Strict):
    suite: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", max_length=64, examples=["smoke"])
    seed: Annotated[_Whole, Field(ge=0, lt=2**63)] | None = Field(
        default=None, description="Shuffles the order of servers; by default the suite's own."
    )


class ServerAsked(_Strict):
    """A running server: a deployment of a run that goes on, or any server on this machine's loopback."""

    name: _Word | None = Field(default=None, description="What its answer is called; by default the server's name.")
    deployment: RunId | None = Field(default=None, description="As GET /api/v1/servers lists them.")
    url: str | None = Field(
        default=None,
        max_length=300,
        pattern=r"^(http|grpc)://[!-~]+$",
        description="http://127.0.0.1:PORT or grpc://127.0.0.1:PORT, with a path where the protocol leaves one free.",
    )
    protocol: Protocol | None = Field(
        default=None, description="Needed beside a url; of a deployment by default its first."
    )
    model: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]{0,128}$",
        description="Beside a url: the server's name for the model; by default ours.",
    )


_Numbers = Annotated[list[Annotated[float, Field(strict=True, allow_inf_nan=False)]], Field(max_length=2**22)]


class InferenceAsked(_Strict):
    model: _Word = Field(examples=["tiny_cnn"])
    servers: list[ServerAsked] = Field(min_length=1, max_length=16)
    batch: _Whole = Field(default=1, ge=1, le=64)
    inputs: dict[str, _Numbers] | None = Field(
        default=None,
        description="By name, the numbers of each input in C order, batch axis first. By default the model's own "
        "seeded inputs, which every night is measured with.",
    )
    prompt: str | None = Field(default=None, max_length=32_768, description="Of language models, in place of inputs.")
    max_tokens: _Whole = Field(default=64, ge=1, le=1024, description="Of the answer to a prompt.")
    repeats: _Whole = Field(default=1, ge=1, le=20)
    timeout_s: float = Field(default=10.0, gt=0, le=60, strict=True)
    values: _Whole = Field(default=10, ge=0, le=10_000, description="How many of each output are sent back.")
    disturb: bool = Field(
        default=False,
        strict=True,
        description="Ask while a run goes on on this machine. What it measures meanwhile may be spoiled.",
    )


class KeyAsked(_Strict):
    name: str = Field(pattern=NAME, max_length=64, examples=["grafana"])
    role: Role
