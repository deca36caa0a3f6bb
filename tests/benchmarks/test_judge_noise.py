"""The noise that rules are judged in is what it is said to be, or their figures mean nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.judge.noise import SYNTHETIC, Noise, ar1
from benchmarks.judge.real import Source, bootstrap, noises, read, residuals
from nightbench.errors import UsageError


@pytest.mark.parametrize("noise", SYNTHETIC, ids=lambda noise: noise.name)
def test_seeded_and_around_one(noise: Noise) -> None:
    values = noise.draw(np.random.default_rng(3), 200, 120)
    assert values.shape == (200, 120)
    assert np.array_equal(values, noise.draw(np.random.default_rng(3), 200, 120))
    assert abs(np.median(values) - 1.0) < 0.02
    # Stationary: halves of the nights have one level, as far as the mean of so many can tell.
    logs = np.log(values)
    assert abs(logs[:, :60].mean() - logs[:, 60:].mean()) < 0.002


def test_ar1_keeps_its_variance_and_its_correlation() -> None:
    values = ar1(np.random.default_rng(5).standard_normal((400, 500)), 0.5)[:, 50:]
    assert np.var(values) == pytest.approx(1.0, abs=0.03)
    assert np.mean(values[:, 1:] * values[:, :-1]) == pytest.approx(0.5, abs=0.03)


def test_what_lasts_is_no_noise_and_what_passes_is() -> None:
    logs = np.zeros(100)
    logs[50:] = 0.3
    assert not residuals(logs, 15).any()
    logs = np.zeros(100)
    logs[50:57] = 0.3
    assert residuals(logs, 15).sum() == pytest.approx(7 * 0.3)
    logs[57] = 0.3
    assert not residuals(logs, 15).any()


def test_independent_noise_passes_almost_unchanged() -> None:
    left = residuals(np.random.default_rng(7).standard_normal(100_000), 15)
    assert np.var(left) == pytest.approx(0.97, abs=0.02)
    assert np.corrcoef(left[1:], left[:-1])[0, 1] == pytest.approx(-0.04, abs=0.02)


def test_a_drawn_series_is_of_one_source_and_keeps_its_neighbours() -> None:
    steps = np.arange(300.0)
    sources = [Source("low", steps * 1e-4), Source("high", 1.0 + steps * 1e-4)]
    logs = np.log(bootstrap(sources, np.random.default_rng(1), 10, 90))
    assert sorted((logs > 0.5).all(axis=1).tolist()) == [False] * 5 + [True] * 5
    assert np.mean(np.isclose(np.diff(logs, axis=1), 1e-4)) > 0.9


def test_reads_the_published_form_and_leaves_out_what_measured_nothing(tmp_path: Path) -> None:
    values = np.exp(0.01 * np.random.default_rng(2).standard_normal(300)).tolist()
    noisy = np.exp(0.2 * np.random.default_rng(3).standard_normal(300)).tolist()
    series = {
        "quiet": {"t": [], "values": [0.0, None, *values]},
        "noisy": {"t": [], "values": noisy},
        "short": {"t": [], "values": values[:50]},
    }
    path = tmp_path / "series.json"
    path.write_text(json.dumps({"meta": {}, "series": series}))
    sources = read(path)
    assert [source.name for source in sources] == ["quiet", "noisy"]
    assert len(sources[0].residuals) == 300 - 14
    assert sources[0].sigma == pytest.approx(0.01, rel=0.2)
    every, held_out, quiet = noises(sources)
    assert np.log(every.draw(np.random.default_rng(1), 10, 100)).std() > 0.1
    assert np.log(held_out.draw(np.random.default_rng(1), 10, 100)).std() > 0.15
    assert np.log(quiet.draw(np.random.default_rng(1), 10, 100)).std() < 0.02


@pytest.mark.parametrize("text", ["", "[]", '{"series": {"a": {}}}', '{"series": {"a": {"values": ["x"]}}}'])
def test_another_file_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"--real: .*other.json: cannot be read"):
        read(path)
