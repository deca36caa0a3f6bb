"""Which of the things that changed since the last good night makes tonight slow: mixtures of both, deployed in turn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nightbench.catalog import resolve
from nightbench.errors import UsageError
from nightbench.judge.bisect import Found, minimal
from nightbench.judge.factors import Differences, Recipe, differences, mixed
from nightbench.judge.night import Suspect
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.verdict import Outcome
from nightbench.plan import Cell
from nightbench.record import TrialRecord
from tasks.ab.past import Past, Unrestorable
from tasks.ab.rerun import Decided, rerun
from tasks.ab.sides import Side, artifact_of, image_gone, made
from tasks.ab.trial import apart, points_needed, trial
from tasks.export import Exported, Unusable, export_model
from tasks.measure import case_of
from tasks.session import Session

__all__ = ["Bisection", "Mixture", "bisect", "patient"]

_PAIRS = 24
"""A person asked, and waits; the night's budget is none of theirs. Where pairs scatter by 12 %, as on the machine of
``docs/judge.md``, ten leave an interval of nine per cent to either side, and so many one of five."""
_ERROR = 0.02
"""That something is slower has been confirmed; which of few factors it is may be wrong a little more often."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Last-good with some factors as tonight, and how it did against last-good."""

    name: str
    factors: frozenset[str]
    decided: Decided


@dataclass(frozen=True, slots=True)
class Bisection:
    """What is to blame, and how that was found."""

    found: Found
    what: Differences
    mixtures: tuple[Mixture, ...]

    @property
    def said(self) -> str:
        """The result in one line."""
        found, changed = self.found, self.what.changed
        tests = f"{found.tests} mixture{'' if found.tests == 1 else 's'} tested"
        if not found.culprits:
            whole = self.mixtures[0].decided
            if whole.outcome is Outcome.UNCONFIRMABLE:
                return f"nothing found: all that changed together could not be told from last-good ({whole.detail})"
            rest = f"; not changed back: {', '.join(sorted(self.what.unrestored))}" if self.what.unrestored else ""
            return f"nothing found: all that changed together is as fast as last-good ({whole.detail}){rest}"
        named = ", ".join(f"{name} ({changed[name]})" for name in found.culprits)
        kind = "the culprit is" if len(found.culprits) == 1 else "the smallest set found is"
        unsure = "" if found.certain else "; a part of it may be enough, for some mixtures could not be told"
        return f"{kind} {named}; {tests}{unsure}"


@dataclass(slots=True)
class _Bench:
    """Deploys mixtures, and remembers what came of them."""

    session: Session
    ab: Session
    suspect: Suspect
    cells: Sequence[Cell]
    exported: Exported
    good: Recipe
    tonight: Recipe
    good_side: Side
    confirmation_id: str
    done: list[Mixture]

    def bad(self, factors: frozenset[str]) -> bool | None:
        """Whether this mixture is worse than last-good; ``None`` where that cannot be told."""
        number = len(self.done) + 1
        name = f"mixture {number}: {', '.join(sorted(factors))}"
        self.session.progress.note(f"testing {name}")
        decided = self._decided(name, number, factors)
        self.session.progress.note(f"{decided.outcome}: {decided.detail}")
        self.done.append(Mixture(name, factors, decided))
        match decided.outcome:
            case Outcome.CONFIRMED:
                return True
            case Outcome.REFUTED | Outcome.ENVIRONMENT:
                return False
            case Outcome.UNCONFIRMABLE:
                return None

    def _decided(self, name: str, number: int, factors: frozenset[str]) -> Decided:
        confirmation_id = f"{self.confirmation_id}.{number}-b{number}"

        def attempt(side: Side, pair: int, place: int, left: Sequence[Suspect]) -> tuple[TrialRecord, str]:
            record, why = trial(side, confirmation_id, pair, place, left, self.cells)
            self.session.record(record)
            return record, why

        try:
            side = self.made(name, mixed(self.good, self.tonight, factors), f"b{number}")
        except Unrestorable as error:
            return Decided(Outcome.UNCONFIRMABLE, str(error))
        policy = patient(self.session.suite.judge)
        found = rerun(self.good_side, side, [self.suspect], policy, attempt, lambda _: True)
        return found[self.suspect.key]

    def made(self, name: str, recipe: Recipe, folder: str) -> Side:
        return made(self.ab, name, recipe, self.suspect.cell.setup, self.exported, self.session.workdir / folder)


def patient(policy: JudgePolicy) -> JudgePolicy:
    """The suite's ``policy``, with as many pairs as a bisection may take."""
    confirm = policy.confirm
    longer = {
        "max_pairs": max(confirm.max_pairs, _PAIRS),
        "false_confirm_p": max(confirm.false_confirm_p, _ERROR),
    }
    return policy.model_copy(update={"confirm": confirm.model_copy(update=longer)})


def bisect(session: Session, suspect: Suspect, past: Past, confirmation_id: str) -> Bisection:
    """Name the culprit, or the smallest set found. ``session`` is of the run that ``suspect`` was raised in, opened
    anew; the trials go to its spool under ``confirmation_id``.

    `UsageError` where there is nothing to bisect: a side cannot be had, or no factor can be changed back.
    """
    with apart(session) as ab:
        try:
            bench, what = _bench(session, ab, suspect, past, confirmation_id)
        except Unrestorable as error:
            raise UsageError(f"bisect: {error}; there is nothing to compare") from error
        return Bisection(minimal(tuple(what.changed), bench.bad), what, tuple(bench.done))


def _bench(
    session: Session, ab: Session, suspect: Suspect, past: Past, confirmation_id: str
) -> tuple[_Bench, Differences]:
    setup = suspect.cell.setup
    exported = export_model(ab, setup.export)
    if isinstance(exported, Unusable):
        raise Unrestorable(exported.detail)
    key, nights = suspect.key.fingerprint, (past.night(suspect.good_run_id), past.night(session.run_id))
    like = nights[1].measurement(key, case_of(session, exported, suspect.cell)).case
    good, tonight = (night.recipe(night.measurement(key, like)) for night in nights)
    for recipe, night in zip((good, tonight), nights, strict=True):
        if recipe.files is None:
            raise Unrestorable(f"run {night.run_id} did not store what {setup.server} was made of")
    artifacts = (good.artifact_sha256, tonight.artifact_sha256)
    gone = [sha256[:12] for sha256 in artifacts if artifact_of(ab, sha256, exported) is None]
    without = image_gone(ab, good) or image_gone(ab, tonight)
    what = differences(good, tonight, f"no longer in the cache: {', '.join(gone)}" if gone else "", without)
    if not what.changed:
        left = ", ".join(f"{name} ({words})" for name, words in what.unrestored.items()) or "nothing at all differs"
        raise UsageError(
            f"bisect: nothing that can be changed back differs between {suspect.good_run_id} and {session.run_id}; "
            f"what cannot: {left}"
        )
    if gone:
        good, tonight = (replace(each, artifact_sha256=exported.artifact.sha256) for each in (good, tonight))
    planned = resolve(session.suite, session.catalog, session.suite.name).cells
    side = made(ab, "good", good, setup, exported, session.workdir / "good")
    cells = points_needed([suspect], planned)
    return _Bench(session, ab, suspect, cells, exported, good, tonight, side, confirmation_id, []), what
