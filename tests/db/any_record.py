"""Any record at all, for properties that must hold for each."""

from base64 import b64encode
from datetime import datetime
from typing import Any

from hypothesis import strategies as st

from nightbench.figures import Doubt, Estimate, Reason, SearchFigures, SearchStep, Series, StreamFigures
from nightbench.judge.series import Metric
from nightbench.judge.verdict import Change, Outcome, Verdict
from nightbench.load import Arrival, ClosedLoop, EndedBy, Goal, OpenLoop, PeakShare, Search, Trace
from nightbench.model import Format, Precision
from nightbench.record import (
    ArtifactRecord,
    CalibrationRecord,
    CanaryRecord,
    Case,
    ConfirmationRecord,
    DeploymentRecord,
    GateRecord,
    JudgementRecord,
    KitRecord,
    MeasurementRecord,
    MissingRecord,
    ParityRecord,
    Record,
    RunFinished,
    RunStarted,
    TrialRecord,
    WireParityRecord,
)
from nightbench.server import Protocol

__all__ = ["records_of"]

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_count = st.integers(0, 2**62)
_small = st.integers(0, 2**31 - 1)
_batch = st.integers(1, 2**31 - 1)
_figure = st.floats(0, allow_infinity=False)
_moment = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.timezones())  # noqa: DTZ001 - zone drawn
_option = st.booleans() | st.integers(-(2**31), 2**31) | st.floats(-1e15, 1e15) | _text
_options = st.dictionaries(_text, _option, max_size=3)
_facts = st.dictionaries(_text, _text, max_size=3)
_format, _precision, _protocol = st.sampled_from(Format), st.sampled_from(Precision), st.sampled_from(Protocol)
_rate = st.floats(1e-6, 1e9)
_arrival = st.sampled_from(Arrival)
_closed = st.builds(ClosedLoop, _batch)
_open = st.builds(OpenLoop, _rate, _arrival, st.none() | _rate)
# A trace's path is not kept.
_traced = st.builds(OpenLoop, _rate, st.just(Arrival.TRACE), st.none(), st.builds(Trace, st.just(""), _text))
_share = st.builds(PeakShare, _rate, _arrival, st.none() | _rate)
_search = st.builds(Search, st.sampled_from(Goal), st.none() | _rate, _arrival, st.none() | _rate, _batch)
_load = _closed | _open | _traced | _share | _search
_estimate = st.lists(_figure, min_size=3, max_size=3).map(sorted).map(lambda s: Estimate(s[1], s[0], s[2])) | st.builds(
    Estimate, _figure
)
_quantiles = st.dictionaries(st.sampled_from(["p50", "p90", "p95", "p99", "p99.9"]), _estimate, max_size=5)
_case = st.builds(
    Case,
    *(_text, _small, _text, _format, _precision, _text, _options, _protocol, _batch, _load, _small, _text, _small),
)
_doubt = st.builds(Doubt, st.sampled_from(Reason), _text, st.lists(_text, max_size=2).map(tuple))
_ended_by = st.sampled_from(EndedBy)
_stream = st.builds(
    StreamFigures,
    *(_quantiles, _quantiles, _count, _estimate, st.none() | _estimate),
    st.dictionaries(_text, st.floats(), max_size=2),
)
_step = st.builds(
    SearchStep, _closed | _open, _estimate, _quantiles, _small, _ended_by, st.lists(_doubt, max_size=1).map(tuple)
)
_found = st.builds(SearchFigures, st.lists(_step, max_size=2).map(tuple), _small, _estimate, _text)
_series = (
    st.lists(st.tuples(_small, st.floats()), max_size=5)
    .map(tuple)
    .flatmap(
        lambda points: st.builds(
            Series, _text, _text, st.just(tuple(at for at, _ in points)), st.just(tuple(value for _, value in points))
        )
    )
)
# The database computes their ratio, which must be a number.
_level = st.lists(st.floats(1e-100, 1e100), min_size=3, max_size=3).map(sorted)
_change = st.builds(
    Change,
    *(_text, _text, _small),
    *(_level.map(lambda s: Estimate(s[1], s[0], s[2])), _level.map(lambda s: Estimate(s[1], s[0]))),
    *(st.floats(0, 1), st.booleans()),
)
_metric = st.sampled_from(Metric)
_figures = st.dictionaries(_text, st.dictionaries(_text, st.floats(), max_size=2), max_size=2)


def _judging(run: str) -> st.SearchStrategy[Record]:
    """The records that judging adds to a night."""
    same = st.just(run)
    # One hash has one content.
    files = st.shared(_facts, key="files")
    failed = st.builds(
        CanaryRecord, same, _small, _text, _text, _moment, st.none() | _estimate, st.just("the library is missing")
    )
    return st.one_of(
        st.builds(KitRecord, same, _text, st.just(f"kit of {run}"), files),
        st.builds(CanaryRecord, same, _small, _text, _text, _moment, _estimate) | failed,
        st.builds(GateRecord, same, _text, st.sampled_from(Reason), _text, _text, st.lists(_text).map(tuple)),
        st.builds(
            JudgementRecord,
            *(same, _text, _text, _metric, st.sampled_from(Verdict), _text, st.none() | _change, st.none() | _text),
        ),
        st.builds(TrialRecord, same, _text, _small, _text, _small, _text, _moment, _figures, st.none() | _text),
        st.builds(
            ConfirmationRecord,
            *(same, _text, _text, _text, _metric, st.sampled_from(Outcome), _text, _text, _facts, _facts),
            *(st.none() | _estimate, _small, _count),
        ),
    )


def records_of(run: str) -> st.SearchStrategy[list[Record]]:
    """A few records of one run, no two of which name the same thing."""
    same = st.just(run)
    maybe = st.none() | _count
    size = st.shared(_count, key="size")
    # One file has one size, whoever writes it down.
    sha = size.map(lambda size_bytes: f"sha-{size_bytes}")
    return st.lists(
        st.one_of(
            _judging(run),
            st.builds(RunStarted, same, _text, _count, _moment, _text, _facts, _text, _small),
            st.builds(
                RunFinished,
                *(same, _moment, st.sampled_from(["completed", "failed", "cancelled"])),
                *(st.dictionaries(_text, _count, max_size=3), _text),
            ),
            st.builds(
                ArtifactRecord,
                *(same, _text, _small, _format, _precision, _text, sha, size, maybe, st.booleans(), _facts),
                *(st.booleans(), st.none() | _text, maybe),
            ),
            st.builds(
                ParityRecord,
                *(same, _text, _format, _precision, _text, _text, _batch, _figure, _figure, st.floats()),
                *(st.none() | _figure, st.booleans(), _text),
                *(st.none() | _figure, st.none() | _figure, st.none() | _figure, st.none() | _text),
            ),
            st.builds(
                WireParityRecord,
                *(same, _text, _text, _format, _precision, _text, _text, _protocol, _batch, _text),
                *(_figure, _figure, _figure, _figure, st.floats()),
                *(st.none() | _figure, st.none() | _figure, _small, st.booleans(), st.booleans(), _text),
            ),
            st.builds(
                DeploymentRecord,
                *(same, _text, _small, _text, _text, _text, _text, _format, _precision, _options, _moment),
                *(maybe, maybe, maybe, _facts, _text, st.none() | _text, st.none() | _text, _text),
            ),
            st.builds(
                MeasurementRecord,
                *(same, _text, _small, _text, _case, _moment, _count, _count),
                *(st.dictionaries(_text, st.integers(0, 2**50), max_size=3), st.none() | _figure, _estimate),
                *(_quantiles, _quantiles, st.dictionaries(_text, st.floats(), max_size=3)),
                st.binary(max_size=20).map(lambda content: b64encode(content).decode()),
                *(st.none() | _figure, st.lists(_series, max_size=3).map(tuple), _facts),
                *(st.lists(_doubt, max_size=2).map(tuple), _ended_by, st.none() | _text),
                *(st.dictionaries(_text, _count, max_size=2), st.none() | _figure, st.none() | _stream),
                st.none() | _found,
            ),
            st.builds(
                CalibrationRecord,
                *(same, _small, _protocol, _text, _batch, _count, _count, _moment, _estimate, _quantiles, _figure),
                *(st.sampled_from(["client", "server"]), st.none() | _text),
            ),
            st.builds(
                MissingRecord,
                *(same, _text, _small, _text, _text, _format, _precision, _options, _protocol, _batch, _load),
                *(st.sampled_from(["export_failed", "parity_failed"]), _text),
            ),
        ),
        max_size=5,
        unique_by=_natural_key,
    )


_JUDGING_KEYS = {
    "kit": ("server",),
    "canary": ("round", "canary", "device", "started_at"),
    "gate": ("cell_key", "reason", "expectation", "figures"),
    "judgement": ("fingerprint", "metric"),
    "trial": ("confirmation_id", "pair", "side", "place"),
    "confirmation": ("confirmation_id", "fingerprint", "metric"),
}


def _natural_key(record: Record) -> tuple[Any, ...]:
    names = ("cell_id", "deployment_id", "model", "model_version", "format", "precision", "weights", "output", "batch")
    if isinstance(record, CalibrationRecord):
        return record.kind, record.round, record.protocol, record.model, record.batch, record.started_at
    if isinstance(record, WireParityRecord):
        return record.kind, record.deployment_id, record.protocol, record.batch, record.output
    if record.kind in _JUDGING_KEYS:
        return record.kind, *(getattr(record, name) for name in _JUDGING_KEYS[record.kind])
    of_kind = {"measurement": names[:1], "missing": names[:1], "deployment": names[1:2]}.get(record.kind, names)
    # A cell is either measured or missing: what becomes of one that is both is told in test_resumed.py.
    kind = "cell" if of_kind == names[:1] else record.kind
    return kind, *(getattr(record, name, None) for name in of_kind)
