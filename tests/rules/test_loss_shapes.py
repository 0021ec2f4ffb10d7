"""What the loss rules build on: lines, swings, drops of the rate, terms of a loss."""

from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.loss.loss_terms import loss_terms
from tb_nnhealth.rules.loss.rate_drops import drops
from tb_nnhealth.rules.loss.stretches import line
from tb_nnhealth.rules.loss.swings import swings


def series(values: np.ndarray) -> Series:
    return Series([(i, float(i), float(v)) for i, v in enumerate(values)])


@pytest.mark.parametrize("seed", range(10))
def test_noise_alone_is_no_fall(seed: int):
    assert not line(np.random.default_rng(seed).standard_normal(500)).surely_falls


def test_a_line_is_found_in_spite_of_wild_points():
    values = 3 - np.arange(240) / 240
    values[::17] = 1e6
    found = line(values)
    assert found.surely_falls
    assert found.fall == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("seed", range(10))
def test_swings_of_noise_are_those_of_any_order(seed: int):
    found = swings(np.random.default_rng(seed).exponential(1.0, 200))
    assert found.slow < 1.3 * found.shuffled
    assert found.period == 0


def test_a_rhythm_is_told_by_its_period():
    assert swings(np.sin(2 * np.pi * np.arange(200) / 20)).period == 20


def test_a_drop_is_found_where_the_rate_falls_for_good():
    rates = np.where(np.arange(200) < 80, 1e-2, 1e-3)
    rates[30] = 1e-3  # taken back at once
    values = np.exp(-np.cumsum(rates) / 0.3)
    assert [(drop.at, drop.high, drop.low) for drop in drops(values, rates, 5.0)] == [(80, 1e-2, 1e-3)]


def test_weights_of_terms_come_from_the_total():
    rng = np.random.default_rng(0)
    a, b = 5 + rng.random(100), 1 + rng.random(100)
    run = Run("r", scalars={"loss/a_term": series(a), "loss/b_term": series(b), "loss": series(a + 0.01 * b)})
    terms = loss_terms(run)
    assert terms is not None
    assert terms.known
    assert np.median(terms.weighted / terms.values, axis=0) == pytest.approx([1, 0.01], rel=1e-3)


def test_a_total_that_is_no_sum_leaves_the_weights_unknown():
    rng = np.random.default_rng(0)
    run = Run("r", scalars={name: series(rng.random(100)) for name in ("loss/box", "loss/class", "loss")})
    terms = loss_terms(run)
    assert terms is not None
    assert not terms.known
