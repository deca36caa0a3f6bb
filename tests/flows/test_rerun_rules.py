"""The rules of a re-run, with trials that are made up: who is asked how often, and what a lack of answers means."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

import tasks.ab.confirm as module
from db.spool import Spool, read
from flows.confirm import confirmed_in_prefect
from flows.dressing import Dressing
from flows.registry import load_catalog
from launch.environment import Environment
from nightbench.figures import Doubt, Estimate, Reason
from nightbench.judge.factors import Differences
from nightbench.judge.night import Suspect
from nightbench.judge.pairs import Pair, decide
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.series import Direction, Metric, SeriesKey
from nightbench.judge.verdict import Change, Outcome
from nightbench.load import ClosedLoop
from nightbench.model import Format, Precision
from nightbench.plan import Cell, Export, Setup, cell_key
from nightbench.record import ConfirmationRecord, MeasurementRecord, Record, TrialRecord
from nightbench.server import Protocol
from nightbench.settings import Settings
from nightbench.suite import parse_suite
from tasks import machine
from tasks.ab.bisect import patient
from tasks.ab.confirm import confirm_all
from tasks.ab.figures import figure
from tasks.ab.past import Unrestorable
from tasks.ab.rerun import rerun
from tasks.ab.sides import Side
from tasks.export import Exported
from tasks.progress import Silent
from tasks.request import fresh
from tasks.session import Session
from tests.nightbench.judged import case, cell_rounds

SUITE = """
name: made-up
sweeps:
  - models: [tiny_cnn]
    servers: [pytorch, onnxruntime]
    loads: [{closed: 1}, {closed: 2}]
"""
POLICY = JudgePolicy()


def suspect(
    cell: Cell, metric: Metric = Metric.LATENCY_P50_NS, ratio: float = 1.1, *, firm: bool = True, good: str = "n1"
) -> Suspect:
    change = Change("n2", good, 1, Estimate(100.0), Estimate(100.0 * ratio), 1e-4, firm=firm)
    return Suspect(SeriesKey("made-up", cell.key, metric), cell.label, cell, change, good)


def cell_of(server: str = "pytorch", concurrency: int = 1) -> Cell:
    setup = Setup(server, Export("tiny_cnn", Format.TORCHSCRIPT, Precision.FP32, "random"), ())
    point = Protocol.RAW_HTTP, 1, ClosedLoop(concurrency)
    return Cell(f"{cell_key(setup, *point)}.r1", setup, *point)


def side(name: str) -> Side:
    environment = Environment(Path("python"), Path("site"), "hash", "1.0", built=False, build_ns=0)
    nothing = cast("Session", None), cell_of().setup, cast("Exported", None)
    return Side(name, *nothing, environment)


class Trials:
    """Made-up figures: last-good's are 100, tonight's 100 times ``ratio`` of the series, ``None`` where it has none."""

    def __init__(self, ratio: Callable[[Suspect, int], float | None], fails: str = "") -> None:
        self.ratio, self.fails = ratio, fails
        self.order: list[str] = []
        self.asked: list[list[Suspect]] = []

    def __call__(self, side: Side, pair: int, place: int, left: Sequence[Suspect]) -> tuple[TrialRecord, str]:
        self.order.append(side.name)
        self.asked.append(list(left))
        figures: dict[str, dict[str, float]] = {}
        for each in left:
            ratio = self.ratio(each, pair)
            if ratio is not None:
                value = 100.0 * (ratio if side.name == "tonight" else 1.0)
                figures.setdefault(each.key.fingerprint, {})[each.key.metric] = value
        failure = "died: it was planted" if side.name == self.fails else None
        record = TrialRecord("n2", "c1", pair, side.name, place, "d", datetime.now(UTC), figures, failure)
        return record, "errors: it said 500"


def always(_: int) -> bool:
    return True


def test_sides_change_places_and_what_is_decided_is_not_measured_again() -> None:
    quick, slow = suspect(cell_of()), suspect(cell_of(concurrency=2))
    noisy = [0.9, 1.2, 0.8, 1.3, 1.0, 1.15, 0.85, 1.25, 0.95, 1.1]
    trials = Trials(lambda each, pair: 1.1 + 0.001 * pair if each is quick else noisy[pair - 1])
    found = rerun(side("good"), side("tonight"), [quick, slow], POLICY, trials, always)
    assert trials.order[:8] == ["good", "tonight", "tonight", "good", "good", "tonight", "tonight", "good"]
    assert found[quick.key].outcome is Outcome.CONFIRMED
    assert found[quick.key].pairs == 4
    assert trials.asked[7] == [quick, slow]
    assert trials.asked[8] == [slow]
    assert found[slow.key].outcome is Outcome.UNCONFIRMABLE
    assert found[slow.key].pairs == POLICY.confirm.max_pairs


def test_doubted_pairs_are_left_out_and_counted() -> None:
    one = suspect(cell_of())
    trials = Trials(lambda _, pair: None if pair == 2 else 1.1 + 0.001 * pair)
    found = rerun(side("good"), side("tonight"), [one], POLICY, trials, always)[one.key]
    assert (found.outcome, found.pairs, len(trials.order)) == (Outcome.CONFIRMED, 4, 10)
    assert "1 more have not both figures: errors: it said 500" in found.detail


def test_what_never_has_a_figure_is_given_up_soon() -> None:
    one = suspect(cell_of())
    trials = Trials(lambda *_: None)
    found = rerun(side("good"), side("tonight"), [one], POLICY, trials, always)[one.key]
    assert found.outcome is Outcome.UNCONFIRMABLE
    assert found.detail == "no pair has both figures: errors: it said 500"
    assert len(trials.order) == 6


@pytest.mark.parametrize("name", ["good", "tonight"])
def test_a_side_that_does_not_come_up_leaves_all_undecided(name: str) -> None:
    both = [suspect(cell_of()), suspect(cell_of(concurrency=2))]
    trials = Trials(lambda *_: 1.1, fails=name)
    found = rerun(side("good"), side("tonight"), both, POLICY, trials, always)
    assert {each.outcome for each in found.values()} == {Outcome.UNCONFIRMABLE}
    assert all(f"'{name}' did not come up: died: it was planted" in each.detail for each in found.values())
    assert len(trials.order) <= 2


def test_when_the_time_is_over_the_pairs_so_far_decide() -> None:
    one = suspect(cell_of())
    trials = Trials(lambda _, pair: 1.1 + 0.02 * (-1) ** pair)
    found = rerun(side("good"), side("tonight"), [one], POLICY, trials, lambda number: number < 5)[one.key]
    assert (found.outcome, found.pairs) == (Outcome.CONFIRMED, 5)


def measured(*doubts: Doubt) -> MeasurementRecord:
    return cell_rounds(case(), p50_ms=4.0, doubts=doubts, rounds=1)[0]


def test_a_doubted_figure_is_none() -> None:
    tail = Doubt(Reason.TOO_FEW_SAMPLES, "few", ("p99",))
    assert figure(measured(), Metric.LATENCY_P50_NS) == 4e6
    assert figure(measured(tail), Metric.LATENCY_P50_NS) == 4e6
    assert figure(measured(tail), Metric.LATENCY_P99_NS) == tail
    whole = Doubt(Reason.FOREIGN_LOAD, "somebody else")
    assert figure(measured(whole), Metric.THROUGHPUT_RPS) == whole
    assert figure(measured(), Metric.TTFT_P50_NS) is None
    assert figure(replace(measured(), throughput_rps=Estimate(0.0)), Metric.THROUGHPUT_RPS) is None


class Night:
    """`confirm_all` with sides and trials that are made up."""

    def __init__(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        self.session = session
        self.ratios: Callable[[Suspect, int], float | None] = lambda _, pair: 1.1 + 0.001 * pair
        self.what = Differences({"code": "serve.py changed"}, {})
        self.groups: list[list[str]] = []
        monkeypatch.setattr(module, "_sides", self.sides)
        monkeypatch.setattr(module, "trial", self.trial)

    def sides(self, *arguments: object) -> tuple[Side, Side, Differences]:
        group = cast("module._Group", arguments[-1])
        self.groups.append([each.key.fingerprint for each in group.suspects])
        return side("good"), side("tonight"), self.what

    def trial(
        self, one: Side, _: str, pair: int, place: int, left: Sequence[Suspect], __: Sequence[Cell]
    ) -> tuple[TrialRecord, str]:
        return Trials(self.ratios)(one, pair, place, left)

    def records(self, run_id: str, *kinds: type[Record]) -> list[Record]:
        raise AssertionError("sides are made up")

    def confirm(self, *suspects: Suspect, budget_ns: int = 10**15) -> list[ConfirmationRecord]:
        return confirm_all(self.session, suspects, self, budget_ns)


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    settings = Settings.from_environment({"NIGHTBENCH_HOME": str(tmp_path)})
    catalog = load_catalog(settings)
    suite = parse_suite(SUITE, "made-up", tmp_path)
    (tmp_path / "made-up.yaml").write_text(SUITE)
    plan = fresh(tmp_path / "made-up.yaml", catalog).plan
    spool = Spool.open(settings.spool, "n2")
    place = machine.Placement(None, None)
    return Night(Session("n2", suite, plan, catalog, settings, spool, place, "here", {}), monkeypatch)


def test_what_shares_a_setup_and_a_good_night_shares_its_deployments(night: Night) -> None:
    a, b, c = cell_of(), cell_of(concurrency=2), cell_of("onnxruntime")
    found = night.confirm(suspect(a), suspect(b), suspect(c), suspect(a, Metric.LATENCY_P99_NS, good="n0"))
    assert [len(group) for group in night.groups] == [2, 1, 1]
    assert len({each.confirmation_id for each in found}) == 3
    assert {each.outcome for each in found} == {Outcome.CONFIRMED}
    spooled = [each for each in read(night.session.spool.path).records if isinstance(each, ConfirmationRecord)]
    assert spooled == found


def test_they_go_in_the_order_that_the_night_gave_them(night: Night) -> None:
    first, second, third = suspect(cell_of()), suspect(cell_of("onnxruntime")), suspect(cell_of(), good="n0")
    night.confirm(first, second, third, suspect(cell_of(concurrency=2)))
    assert [group[0] for group in night.groups] == [each.key.fingerprint for each in (first, second, third)]


def test_one_group_is_always_decided_and_the_rest_as_time_goes(night: Night) -> None:
    first, second = suspect(cell_of(), ratio=1.2), suspect(cell_of("onnxruntime"))
    found = night.confirm(first, second, budget_ns=0)
    assert [each.outcome for each in found] == [Outcome.CONFIRMED, Outcome.UNCONFIRMABLE]
    assert (found[1].fingerprint, found[1].detail) == (second.key.fingerprint, "no time was left tonight")
    assert len(night.groups) == 1


def test_a_side_that_cannot_be_made_is_unconfirmable_and_says_why(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sides(*_: object) -> tuple[Side, Side, Differences]:
        raise Unrestorable("its packages cannot be had together")

    monkeypatch.setattr(module, "_sides", sides)
    [found] = night.confirm(suspect(cell_of()))
    assert (found.outcome, found.detail, found.ratio) == (
        Outcome.UNCONFIRMABLE,
        "its packages cannot be had together",
        None,
    )


def test_identical_sides_confirm_nothing_even_by_chance(night: Night) -> None:
    night.what = Differences({}, {"kernel": "6.1 -> 6.2"})
    [found] = night.confirm(suspect(cell_of()))
    assert found.outcome is Outcome.UNCONFIRMABLE
    night.ratios = lambda _, pair: 1.0 + 0.001 * (-1) ** pair
    [found] = night.confirm(suspect(cell_of()))
    assert found.outcome is Outcome.REFUTED
    assert "nothing that can be changed back differs" in found.detail


def test_equally_slow_sides_blame_the_machine_only_if_all_of_the_server_was_changed_back(night: Night) -> None:
    slow = suspect(cell_of())
    slow = replace(slow, change=replace(slow.change, before=Estimate(80.0), after=Estimate(100.0)))
    night.ratios = lambda _, pair: 1.0 + 0.001 * (-1) ** pair
    [found] = night.confirm(slow)
    assert found.outcome is Outcome.ENVIRONMENT
    night.what = Differences({"code": "x"}, {"artifact": "a -> b: gone"}, frozenset({"artifact"}))
    [found] = night.confirm(slow)
    assert found.outcome is Outcome.UNCONFIRMABLE
    assert "could not be changed back: artifact" in found.detail


def test_prefect_that_is_away_changes_nothing(night: Night) -> None:
    dressing = Dressing(Silent(), lambda: False)
    dressing.attempt(lambda: 1 / 0)
    [found] = confirmed_in_prefect(dressing, night.session, [suspect(cell_of())], night, 0)
    assert found.outcome is Outcome.CONFIRMED


def test_a_bisection_tells_what_a_nights_few_pairs_cannot() -> None:
    """Pairs that scatter by a tenth, of which a night's ten say nothing: a person who asks gets more of them."""
    scatter = (0.22, -0.06, 0.16, 0.0, 0.21, -0.03, 0.13, 0.05, 0.2, -0.02) * 3
    pairs = [Pair(1.0, 1.0 + each + 0.02) for each in scatter]
    change = Change("n1", "n0", 1, Estimate(1.0, 0.97, 1.03), Estimate(1.1, 1.05, 1.15), 1e-4, firm=True)

    def told(policy: JudgePolicy) -> Outcome | None:
        for count in range(1, policy.confirm.max_pairs + 1):
            last = count == policy.confirm.max_pairs
            found = decide(pairs[:count], Direction.LOWER, 0.03, policy.confirm, change, last=last)
            if found is not None:
                return found.outcome
        return None

    assert told(JudgePolicy()) is Outcome.UNCONFIRMABLE
    assert told(patient(JudgePolicy())) is Outcome.CONFIRMED
    asked_for = JudgePolicy.model_validate({"confirm": {"max_pairs": 40, "false_confirm_p": 0.1}})
    assert patient(asked_for) == asked_for
