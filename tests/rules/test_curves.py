from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tb_nnhealth.rules.evidence import curves


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_sigma_of_normal_noise_and_of_noise_with_wild_points(rng: np.random.Generator):
    values = 3 * rng.standard_normal(4000)
    assert curves.sigma(values) == pytest.approx(3, rel=0.06)
    values[:200] = 1e9
    assert curves.sigma(values) == pytest.approx(3, rel=0.15)
    assert curves.sigma(values[:1]) == 0.0


def test_noise_is_told_apart_from_a_trend(rng: np.random.Generator):
    trend = np.linspace(0, 400, 4000)
    assert curves.noise(trend + rng.standard_normal(4000)) == pytest.approx(1, rel=0.08)
    assert curves.noise(trend) == pytest.approx(0, abs=1e-9)


def test_the_error_of_a_level_covers_the_truth(rng: np.random.Generator):
    levels = [curves.level(rng.standard_normal(50), 1.0) for _ in range(400)]
    missed = np.mean([abs(level.value) > 2 * level.error for level in levels])
    assert 0.02 < missed < 0.09


def test_blocks_are_medians_at_the_first_step_of_each():
    steps, values = curves.blocks(np.arange(10, 22), np.arange(12.0), 4)
    assert steps.tolist() == [10, 13, 16, 19]
    assert values.tolist() == [1, 4, 7, 10]
    steps, values = curves.blocks(np.arange(3), np.arange(3.0), 4)
    assert values.tolist() == [0, 1, 2]


def test_smoothing_removes_a_spike_and_keeps_a_step():
    values = np.concatenate((np.zeros(20), np.ones(20)))
    spiked = values.copy()
    spiked[5] = 100
    assert np.array_equal(curves.smooth(spiked, 5), values)
    assert np.array_equal(curves.smooth(values, 1), values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.integers(1, 100))
def test_smoothing_stays_within_the_curve(given_values: list[float], width: int):
    values = np.array(given_values)
    smoothed = curves.smooth(values, width)
    assert len(smoothed) == len(values)
    assert smoothed.min() >= values.min()
    assert smoothed.max() <= values.max()


def test_trend_of_a_monotonous_curve_is_that_of_the_formula():
    n = 20
    expected = (n * (n - 1) / 2 - 1) / np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    assert curves.trend(np.arange(n, dtype=float)) == pytest.approx(expected)
    assert curves.trend(-np.arange(n, dtype=float)) == pytest.approx(-expected)


def test_trend_of_noise_is_standard_normal(rng: np.random.Generator):
    z = [curves.trend(rng.standard_normal(40)) for _ in range(400)]
    assert np.mean(z) == pytest.approx(0, abs=0.15)
    assert np.std(z) == pytest.approx(1, abs=0.12)


def test_trend_of_too_few_or_equal_values_is_none():
    assert curves.trend(np.array([1.0, 2.0, 3.0])) == 0
    assert curves.trend(np.ones(30)) == 0


@pytest.mark.parametrize("length", [1, 7, 200, 201, 399, 400, 1000])
def test_blocks_are_medians_of_neighbours(length: int) -> None:
    rng = np.random.default_rng(length)
    values = rng.standard_normal(length)
    values[length // 2] = np.nan
    steps, medians = curves.blocks(np.arange(length), values, 200)
    edges = np.linspace(0, length, 201).astype(int) if length > 200 else np.arange(length + 1)
    assert steps.tolist() == edges[:-1].tolist()
    np.testing.assert_array_equal(medians, [np.median(values[a:b]) for a, b in pairwise(edges)])


@pytest.mark.parametrize("count", [1, 2, 3, 10, 11])
def test_medians_are_numpys(count: int) -> None:
    values = np.random.default_rng(count).normal(size=(4, count))
    values[1, 0], values[2, 0] = np.nan, np.inf
    assert np.array_equal(curves.medians(values), np.median(values, axis=1), equal_nan=True)
    assert curves.median(values[0]) == np.median(values[0])
