"""The two tiers in simulation: what is true is confirmed, what is not is not, and the time is kept to."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.judge import confirmed, cost, discovery
from benchmarks.judge.discovery import AGES, METHODS, benjamini_hochberg
from benchmarks.judge.fleet import Fleet, row_of
from benchmarks.judge.noise import SYNTHETIC, Noise
from benchmarks.judge.ours import POLICY
from benchmarks.judge.rerun import night_cost, rerun
from nightbench.figures import Estimate
from nightbench.judge.night import Suspect, suspects_of
from nightbench.judge.verdict import Change, Outcome

GAUSSIAN = SYNTHETIC[0]


def fleet(series: int, stepped: int, noise: Noise = GAUSSIAN) -> Fleet:
    """Of 60 nights, the first ``stepped`` of them a fifth worse from the 51st on."""
    rows = np.arange(series)
    return Fleet.draw(
        noise, np.random.default_rng(4), 60, np.where(rows < stepped, 50, 60), np.where(rows < stepped, 0.2, 0.0)
    )


def suspect(of: Fleet, row: int, night: int, good: int) -> Suspect:
    level = Estimate(float(of.values[row, good]))
    change = Change(str(night), str(good), 1, level, level, 1e-3, firm=True)
    known = next(each for each in of.series(night) if each.key == of.key(row))
    return Suspect(known.key, "", known.cell, change, str(good))


def test_worse_is_up_for_a_latency_and_down_for_a_throughput() -> None:
    made = fleet(4, 2)
    ratio = made.values[:, 50:].mean(axis=1) / made.values[:, :50].mean(axis=1)
    assert ratio == pytest.approx([1.2, 0.8, 1.0, 1.0], abs=0.03)
    assert [made.truth(row, 49, 50) for row in range(4)] == pytest.approx([np.log(1.2), np.log(0.8), 0, 0])
    assert made.truth(0, 51, 55) == made.truth(0, 30, 49) == 0.0


def test_true_steps_are_confirmed_and_nothing_else() -> None:
    made = fleet(60, 6)
    seen = made.look(52, {})
    suspects = suspects_of(seen)
    outcomes, spent = rerun(made, 52, suspects, np.random.default_rng(1), 0.005)
    assert spent > 0.0
    for each in suspects:
        if each.key in outcomes:
            true = row_of(each.key) < 6
            assert (outcomes[each.key] is Outcome.CONFIRMED) == true
    assert any(outcome is Outcome.CONFIRMED for outcome in outcomes.values())


def test_the_first_group_has_its_time_and_the_rest_what_is_left() -> None:
    made = fleet(18 * 3, 0)
    assert night_cost(made) == 3 * 5 * 7
    # Ten per cent of it is less than one first look.
    suspects = [suspect(made, row, 55, 54) for row in (0, 18, 36)]
    outcomes, spent = rerun(made, 55, suspects, np.random.default_rng(1), 0.2)
    assert list(outcomes) == [suspects[0].key]
    assert spent == POLICY.confirm.max_pairs * 2 * 2


def test_suspects_of_one_setup_share_deployments() -> None:
    made = fleet(18, 0)
    one, same_cell, other_cell = (suspect(made, row, 55, 54) for row in (0, 2, 3))
    longest = POLICY.confirm.max_pairs
    for suspects, pair in (([one], 4), ([one, same_cell], 4), ([one, other_cell], 6)):
        assert rerun(made, 55, suspects, np.random.default_rng(1), 0.3)[1] <= longest * pair
    outcomes, _ = rerun(made, 55, [one, same_cell, other_cell], np.random.default_rng(1), 0.3)
    assert len(outcomes) == 3


def test_slow_deployments_of_a_bimodal_server_are_in_its_pairs() -> None:
    made = replace(fleet(18, 0), modes=(1.0, 0.5))
    rerun(made, 55, [suspect(made, 0, 55, 54)], np.random.default_rng(1), 0.005)
    never = replace(made, modes=(0.5, 2.0))
    outcomes, _ = rerun(never, 55, [suspect(never, 0, 55, 54)], np.random.default_rng(2), 0.0001)
    assert Outcome.REFUTED not in outcomes.values()


def test_a_fleet_lives_through_its_nights() -> None:
    result = confirmed.run(GAUSSIAN, 1, 1, 100, 0.01)
    assert [len(result.found[size]) for size in confirmed.SIZES] == [3, 3, 3]
    assert result.by(0.2, 7).value == 1.0
    assert result.false == 0
    assert 91 * 50 < result.stationary_nights < 100 * 60
    assert len(result.cost) == 60


def test_one_night_tells_power_from_falsehood() -> None:
    found = discovery.run(GAUSSIAN, 1, 2, 60, 5, 0.01)
    assert set(found) == set(AGES)
    for of_age in found.values():
        assert set(of_age) == set(METHODS)
        assert {each.power.total for each in of_age.values()} == {10}
    assert found[5]["Benjamini-Hochberg"].power.value > 0.5
    assert found[5]["two tiers"].falsehood.count == 0
    assert found[5]["Benjamini-Hochberg"].true >= found[5]["Benjamini-Yekutieli"].true


def test_benjamini_and_hochberg_s_own_example() -> None:
    # JRSS B 57 (1995), section 3.2: four of fifteen at 5 %.
    p_values = [
        *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
        *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0),
    ]
    assert benjamini_hochberg(p_values, 0.05) == [True] * 4 + [False] * 11
    assert benjamini_hochberg([1.0, 0.5], 0.05) == [False, False]


def test_costs_are_measured() -> None:
    took = cost.decision_ms(GAUSSIAN, 1, 5)
    assert len(took) == 5
    assert all(each > 0.0 for each in took)
    assert len(list(cost.night_s(GAUSSIAN, 1, 5))) == 3
