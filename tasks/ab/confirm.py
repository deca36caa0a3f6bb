"""The night's suspects decided: each group of one setup and one last good night by re-runs of its own."""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from nightbench.catalog import resolve
from nightbench.judge.factors import ARTIFACT, IMAGE, Differences, differences, mixed
from nightbench.judge.night import Suspect
from nightbench.judge.pairs import looks
from nightbench.judge.series import SeriesKey
from nightbench.judge.verdict import Outcome
from nightbench.load import Search
from nightbench.plan import TYPICAL_STEPS, Cell, Setup
from nightbench.record import ConfirmationRecord, TrialRecord
from tasks.ab.past import Nights, Past, Unrestorable
from tasks.ab.rerun import Decided, rerun
from tasks.ab.sides import Side, artifact_of, as_is, image_gone, made
from tasks.ab.trial import apart, points_needed, trial
from tasks.export import Unusable, export_model
from tasks.measure import case_of
from tasks.session import Session

__all__ = ["Around", "confirm_all"]

NS_PER_S = 1_000_000_000
_NOTHING_DIFFERS = (
    "nothing that can be changed back differs, so tonight's own configuration was deployed afresh on both sides"
)
_NO_TIME = "no time was left tonight"
_UNKNOWN = Differences({}, {})
"""Where the sides were not even made."""

Around = Callable[[str, Callable[[], list[ConfirmationRecord]]], list[ConfirmationRecord]]
"""Runs the work on one group, given its name."""


def _plain(_: str, work: Callable[[], list[ConfirmationRecord]]) -> list[ConfirmationRecord]:
    return work()


@dataclass(frozen=True, slots=True)
class _Group:
    """Suspects that share their deployments."""

    number: int
    confirmation_id: str
    """Never given twice: a night may ask for re-runs more than once."""
    setup: Setup
    good_run_id: str
    suspects: tuple[Suspect, ...]
    cells: tuple[Cell, ...]
    """To measure on each deployment."""

    def cost_ns(self, session: Session) -> int:
        """About what the pairs before the first look take."""
        timing, spec = session.suite.measure, session.server(self.setup.server)
        windows = sum(TYPICAL_STEPS if isinstance(cell.load, Search) else 1 for cell in self.cells)
        one_s = spec.start_estimate_s + windows * (timing.warmup_s + timing.duration_s)
        return int(2 * looks(session.suite.judge.confirm)[0] * one_s * NS_PER_S)


def confirm_all(
    session: Session,
    suspects: Sequence[Suspect],
    store: Nights,
    budget_ns: int,
    around: Around = _plain,
) -> list[ConfirmationRecord]:
    """Decide every suspect by re-runs, as far as ``budget_ns`` goes; one record each, which are on record too.

    They go in the order given. The first group has all the pairs it takes; another is begun only while there is time
    for its first look, and gets its last look when the time is over. Raises `tasks.session.Cancelled` when the run is
    asked to stop; nothing is left running then.
    """
    began_ns = time.monotonic_ns()
    results: list[ConfirmationRecord] = []
    with session.ledger.span("confirm"), apart(session) as ab:
        past = Past(store)
        for group in _grouped(session, suspects):
            left_ns = budget_ns - (time.monotonic_ns() - began_ns)
            if group.number > 1 and group.cost_ns(session) > left_ns:
                results += _kept(session, group, _all(group, _NO_TIME), _UNKNOWN, 0)
            else:
                work = partial(_confirmed, session, ab, past, group, None if group.number == 1 else left_ns)
                results += around(f"{group.setup.server} {group.setup.export.model}", work)
    return results


def _grouped(session: Session, suspects: Iterable[Suspect]) -> list[_Group]:
    """In the order given (`nightbench.judge.night.suspects_of`), each group where its first suspect is."""
    found: dict[tuple[Setup, str], list[Suspect]] = {}
    for suspect in suspects:
        found.setdefault((suspect.cell.setup, suspect.good_run_id), []).append(suspect)
    # Not the session's own plan: a resumed run's lacks what was done.
    planned = resolve(session.suite, session.catalog, session.suite.name).cells
    return [
        _Group(
            number,
            f"{session.run_id}-{secrets.token_hex(3)}",
            setup,
            good,
            tuple(members),
            tuple(points_needed(members, planned)),
        )
        for number, ((setup, good), members) in enumerate(found.items(), 1)
    ]


def _confirmed(
    session: Session, ab: Session, past: Past, group: _Group, budget_ns: int | None
) -> list[ConfirmationRecord]:
    """All of one group, at least to its first look; without a budget to its end."""
    began_ns = time.monotonic_ns()
    first_look = looks(session.suite.judge.confirm)[0]

    def more(number: int) -> bool:
        return budget_ns is None or number < first_look or time.monotonic_ns() - began_ns < budget_ns

    def attempt(side: Side, pair: int, place: int, left: Sequence[Suspect]) -> tuple[TrialRecord, str]:
        cells = points_needed(left, group.cells)
        record, why = trial(side, group.confirmation_id, pair, place, left, cells)
        session.record(record)
        return record, why

    what = _UNKNOWN
    try:
        good, tonight, what = _sides(session, ab, past, group)
        found = rerun(good, tonight, group.suspects, session.suite.judge, attempt, more)
    except Unrestorable as error:
        found = _all(group, str(error))
    return _kept(session, group, found, what, time.monotonic_ns() - began_ns)


def _all(group: _Group, why: str) -> dict[SeriesKey, Decided]:
    return dict.fromkeys((suspect.key for suspect in group.suspects), Decided(Outcome.UNCONFIRMABLE, why))


def _kept(
    session: Session, group: _Group, found: Mapping[SeriesKey, Decided], what: Differences, spent_ns: int
) -> list[ConfirmationRecord]:
    """One record each, on disk."""
    records = [
        _record(session, group, suspect, _read(found[suspect.key], what), what, spent_ns) for suspect in group.suspects
    ]
    for record in records:
        session.record(record)
    return records


def _sides(session: Session, ab: Session, past: Past, group: _Group) -> tuple[Side, Side, Differences]:
    """Last-good, tonight, and what is between them. `Unrestorable` if one of them cannot be had."""
    exported = export_model(ab, group.setup.export)
    if isinstance(exported, Unusable):
        raise Unrestorable(exported.detail)
    tonight, now = as_is(ab, group.setup, exported)
    suspect = group.suspects[0]
    night, like = past.night(group.good_run_id), case_of(session, exported, suspect.cell)
    was = night.recipe(night.measurement(suspect.predecessor or suspect.key.fingerprint, like))
    gone = "" if artifact_of(ab, was.artifact_sha256, exported) else "no longer in the cache"
    what = differences(was, now, gone, image_gone(ab, was))
    if not what.changed:
        return replace(tonight, name="good"), tonight, what
    # What cannot be had as it was stands as it is, on both sides.
    within = {ARTIFACT, IMAGE} & what.unseen
    good = made(ab, "good", mixed(was, now, within), group.setup, exported, session.workdir / group.confirmation_id)
    return good, tonight, what


def _read(found: Decided, what: Differences) -> Decided:
    """What a decision means where not all that differs was changed back."""
    if found.ratio is None:
        return found
    if not what.changed and found.outcome is Outcome.CONFIRMED:
        detail = f"{found.detail}, and {_NOTHING_DIFFERS}: what differs then is chance"
        return replace(found, outcome=Outcome.UNCONFIRMABLE, detail=detail)
    if what.unseen and found.outcome is Outcome.ENVIRONMENT:
        left = ", ".join(sorted(what.unseen))
        detail = f"{found.detail}; but it may be the server's all the same, for this could not be changed back: {left}"
        return replace(found, outcome=Outcome.UNCONFIRMABLE, detail=detail)
    return found if what.changed else replace(found, detail=f"{found.detail}; {_NOTHING_DIFFERS}")


def _record(
    session: Session, group: _Group, suspect: Suspect, found: Decided, what: Differences, spent_ns: int
) -> ConfirmationRecord:
    return ConfirmationRecord(
        run_id=session.run_id,
        confirmation_id=group.confirmation_id,
        suite=suspect.key.suite,
        fingerprint=suspect.key.fingerprint,
        metric=suspect.key.metric,
        outcome=found.outcome,
        detail=found.detail,
        good_run_id=group.good_run_id,
        changed=what.changed,
        unrestored=what.unrestored,
        ratio=found.ratio,
        pairs=found.pairs,
        spent_ns=spent_ns,
    )
