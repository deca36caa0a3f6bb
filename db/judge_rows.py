"""Records of judging as rows and back, as in `db.rows`: pure."""

from functools import cache

from pydantic import TypeAdapter

from db.load_columns import joined
from db.rows import Row, estimate_columns, estimate_of, record_of, row
from nightbench.record import CanaryRecord, Case, ConfirmationRecord, JudgementRecord, Record

__all__ = ["canary", "canary_row", "case_of", "confirmation", "confirmation_row", "judgement", "judgement_row"]

_CHANGE = ("since", "last_before", "nights", "p_value", "firm")


def canary_row(record: CanaryRecord) -> Row:
    fields = row(record)
    return fields | estimate_columns("duration", "ns", fields["duration_ns"])


def canary(fields: Row) -> Record:
    return record_of("canary", {**fields, "duration_ns": _known(fields, "duration", "ns")})


def judgement_row(record: JudgementRecord) -> Row:
    """A judgement, its change spread over columns."""
    fields = row(record)
    change = fields.pop("change") or {}
    fields |= {name: change.get(name) for name in _CHANGE}
    return (
        fields
        | estimate_columns("before", "value", change.get("before"))
        | estimate_columns("after", "value", change.get("after"))
    )


def judgement(fields: Row) -> Record:
    """A judgement put together again from its `judgement_row`."""
    levels = {name: estimate_of(fields, name, "value") for name in ("before", "after")}
    change = None if fields["since"] is None else {**{name: fields[name] for name in _CHANGE}, **levels}
    return record_of("judgement", {**fields, "change": change})


def case_of(fields: Row) -> Case:
    """The case in a row of ``cases``; columns that are none of its fields are ignored."""
    return _cases().validate_python({**fields, "load": joined(fields)})


@cache
def _cases() -> TypeAdapter[Case]:
    return TypeAdapter(Case)


def confirmation_row(record: ConfirmationRecord) -> Row:
    fields = row(record)
    return fields | estimate_columns("ratio", "value", fields.pop("ratio"))


def confirmation(fields: Row) -> Record:
    return record_of("confirmation", {**fields, "ratio": _known(fields, "ratio", "value")})


def _known(fields: Row, name: str, unit: str) -> Row | None:
    figure = estimate_of(fields, name, unit)
    return None if figure["value"] is None else figure
