"""How a suite file writes loads down."""

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from nightbench.load import Arrival, ClosedLoop, Goal, Load, OpenLoop, PeakShare, Search, Trace

__all__ = ["Count", "LoadEntry", "Positive", "Strict"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]
# Up to twice the peak is an experiment; beyond it somebody means percent.
_Share = Annotated[float, Field(gt=0, le=2)]


class Strict(BaseModel):
    """A mapping of a suite file, which may hold no other key."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _read_trace(value: object, info: ValidationInfo) -> object:
    """The trace at a path, which counts from the folder of the suite file."""
    if not isinstance(value, str):
        return value
    path = (info.context or {}).get("folder", Path()) / value
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(
            f"{path} cannot be read: {why}; give the path of a text file, seen from the suite's"
        ) from error
    try:
        plain = b"\0" not in content and content.decode()
    except UnicodeDecodeError:
        plain = False
    if not plain or not plain.strip():
        kind = "is not plain text" if content.strip() else "is empty"
        raise ValueError(f"{path} {kind}; write one offset in seconds a line, ascending")
    return Trace(str(path.resolve()), sha256(content).hexdigest())


class _Spaced(Strict):
    arrival: Arrival | None = None
    burstiness: Positive | None = None

    @model_validator(mode="after")
    def _has_its_shape(self) -> Self:
        if self.arrival is Arrival.GAMMA and self.burstiness is None:
            raise ValueError(
                "gamma arrivals need their shape; add 'burstiness: SHAPE' (1 is Poisson, less is burstier)"
            )
        if self.arrival is not Arrival.GAMMA and self.burstiness is not None:
            raise ValueError("only gamma arrivals have a burstiness; remove it or give 'arrival: gamma'")
        if self.arrival is Arrival.TRACE and getattr(self, "trace", None) is None:
            raise ValueError("arrivals of a trace are given as 'trace: FILE'; name the file")
        return self


class OpenEntry(_Spaced):
    rate_rps: Positive | None = None
    peak_share: _Share | None = None
    trace: Annotated[Trace, BeforeValidator(_read_trace)] | None = None

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        if (self.rate_rps is None) == (self.peak_share is None):
            raise ValueError("an open loop has either 'rate_rps: RATE' or 'peak_share: SHARE'; give one of them")
        if self.trace is not None and self.rate_rps is None:
            raise ValueError("a trace is stretched to a rate; give 'rate_rps: RATE' in place of peak_share")
        if self.trace is not None and self.arrival not in {None, Arrival.TRACE}:
            raise ValueError("a trace has arrivals of its own; remove 'arrival'")
        return self

    @property
    def load(self) -> OpenLoop | PeakShare:
        arrival = self.arrival or (Arrival.TRACE if self.trace else Arrival.POISSON)
        if self.peak_share is not None:
            return PeakShare(self.peak_share, arrival, self.burstiness)
        assert self.rate_rps is not None  # noqa: S101 - the validator above; mypy cannot see it
        return OpenLoop(self.rate_rps, arrival, self.burstiness, self.trace)


class ClimbEntry(Strict):
    """A search over closed loops."""

    most_concurrent: Count | None = None

    def load(self, goal: Goal) -> Search:
        return Search(goal) if self.most_concurrent is None else Search(goal, most_concurrent=self.most_concurrent)


class SloEntry(_Spaced):
    p99_ms: Positive

    @property
    def load(self) -> Search:
        return Search(Goal.SLO, self.p99_ms, self.arrival or Arrival.POISSON, self.burstiness)


class SearchEntry(Strict):
    """Exactly one goal. Those that need no more may be written as just their name."""

    peak: ClimbEntry | None = None
    knee: ClimbEntry | None = None
    slo: SloEntry | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value not in {"peak", "knee"}:
            raise ValueError("a search is 'peak', 'knee' or '{slo: {p99_ms: BOUND}}'")
        return {value: {}}

    @model_validator(mode="after")
    def _one_goal(self) -> Self:
        if sum(goal is not None for goal in (self.peak, self.knee, self.slo)) != 1:
            raise ValueError("a search has one goal: 'peak', 'knee' or '{slo: {p99_ms: BOUND}}'")
        return self

    @property
    def load(self) -> Search:
        if self.slo is not None:
            return self.slo.load
        if self.peak is not None:
            return self.peak.load(Goal.PEAK)
        assert self.knee is not None  # noqa: S101 - the validator above; mypy cannot see it
        return self.knee.load(Goal.KNEE)


class LoadEntry(Strict):
    """Exactly one kind of load: ``closed: 4``, ``open: {rate_rps: 20}`` or ``search: peak``."""

    closed: Count | None = None
    open: OpenEntry | None = None
    search: SearchEntry | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(kind is not None for kind in (self.closed, self.open, self.search)) != 1:
            raise ValueError(
                "a load is either 'closed: CONCURRENCY' or 'open: {rate_rps: RATE}' or 'search: GOAL'; give one of them"
            )
        return self

    @property
    def load(self) -> Load:
        if self.open is not None:
            return self.open.load
        if self.search is not None:
            return self.search.load
        assert self.closed is not None  # noqa: S101 - the validator above; mypy cannot see it
        return ClosedLoop(self.closed)
