"""Which curve the loss rules read, and that axes, gaps and rates mislead none of them."""

from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.base import Case, Ill, NotApplicable, Options, Outcome, Passed, Rule, TooLittleData
from tb_nnhealth.rules.evidence import losses
from tb_nnhealth.rules.loss import departure
from tb_nnhealth.rules.loss.loss_diverging import RULE as DIVERGING
from tb_nnhealth.rules.loss.loss_not_decreasing import RULE as NOT_DECREASING
from tb_nnhealth.rules.loss.overfitting import RULE as OVERFITTING
from tb_nnhealth.rules.synthetic import Network


def series(values: np.ndarray, every: int = 1, wall: float = 1.0, first: int = 0) -> Series:
    return Series([(first + i * every, first + i * wall, float(v)) for i, v in enumerate(values)])


def ask(rule: Rule, run: Run, **options: float) -> Outcome:
    history = next(iter(run.watches.values()), None)
    return rule.check(Case(run, history, "", Options(rule.options, options)))


def fall(n: int, noise: float = 0.02, seed: int = 0) -> np.ndarray:
    return (2.3 * np.exp(-6 * np.arange(n) / n) + 0.1) * (1 + noise * np.random.default_rng(seed).standard_normal(n))


def test_a_scalar_of_many_points_comes_first():
    curve = losses.training_loss(Network().loss(fall(200)).run())
    assert curve is not None
    assert (curve.subject, len(curve)) == ("loss/train", 200)


def test_a_scalar_of_few_points_gives_way_to_the_criterion_and_keeps_its_name():
    run = Network().run()
    run.scalars["loss/train"] = series(fall(5), every=40)
    curve = losses.training_loss(run)
    assert curve is not None
    assert (curve.subject, len(curve)) == ("loss/train", 200)


def test_without_a_scalar_the_criterion_speaks():
    curve = losses.training_loss(Network().run())
    assert curve is not None
    assert curve.subject == losses.CRITERION


def test_two_criteria_are_no_one_loss():
    run = Network().run()
    run.watches["other"] = Network().run().watches["model"]
    assert losses.training_loss(run) is None


def test_non_finite_values_of_the_criterion_stay_in_the_curve():
    curve = losses.criterion_loss(Network().spoil(schema.LOSS, "", 150).run().watches["model"])
    assert curve is not None
    assert np.isnan(curve.values[150:]).all()
    assert len(curve.finite()) == 150


def test_records_without_the_criterion_are_left_out():
    network = Network().absent(schema.LOSS, "", since=100)
    curve = losses.criterion_loss(network.run().watches["model"])
    assert curve is not None
    assert len(curve) == 100


def test_epochs_behind_the_last_record_are_counted_at_its_pace():
    """Records end at step 199, after as many seconds; an epoch takes twenty."""
    run = Network(steps=200).run()
    run.scalars["loss/train"] = series(fall(30), wall=20.0, first=0)
    curve = losses.training_loss(run)
    scalar = losses.scalar_loss(run, "train")
    assert curve is not None
    assert scalar is not None
    taken = scalar.at_optimizer(run).steps
    assert taken[5] == 100
    assert taken[-1] == pytest.approx(29 * 20, rel=0.02)


def test_the_learning_rate_is_the_greatest_of_all_groups():
    network = Network().add_row(schema.LEARNING_RATE, "0.1", mean=0.5)
    rates = losses.learning_rate(network.run())
    assert rates is not None
    assert rates[1].tolist() == [0.5] * 200
    assert losses.learning_rate(Run("plain")) is None


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("noise", [0.01, 0.1, 0.4])
def test_a_healthy_curve_fires_no_loss_rule(noise: float, seed: int):
    run = Run(
        "r", scalars={"train_loss": series(fall(300, noise, seed)), "val_loss": series(fall(30, noise, 99 - seed), 10)}
    )
    for rule in (NOT_DECREASING, DIVERGING, OVERFITTING):
        assert not isinstance(ask(rule, run), Ill), rule.id


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("noise", [0.001, 0.01, 0.05])
def test_noise_about_a_level_is_never_taken_for_a_gain(noise: float, seed: int):
    values = 2.3 * (1 + noise * np.random.default_rng(seed).standard_normal(300))
    assert isinstance(ask(NOT_DECREASING, Run("r", scalars={"loss": series(values)})), Ill)


def test_points_at_a_rate_of_zero_are_no_training():
    values = np.concatenate((np.full(150, 2.3), fall(150)))
    run = Run("r", scalars={"loss": series(values), "lr": series(np.where(np.arange(300) < 150, 0.0, 1e-3))})
    assert isinstance(ask(NOT_DECREASING, run), Passed)


def test_a_rate_of_zero_throughout_is_told():
    run = Run("r", scalars={"loss": series(np.full(100, 2.3)), "lr": series(np.zeros(100))})
    outcome = ask(NOT_DECREASING, run)
    assert isinstance(outcome, Ill)
    assert "learning rate is 0" in outcome.hits[0].message
    assert "learning rate above 0" in outcome.hits[0].advice[0]


def test_learned_and_lost_is_diverging_and_not_standing_still():
    values = np.concatenate((fall(100), np.full(300, 2.4)))
    run = Network(steps=400).run()
    run.scalars["loss/train"] = series(values * (1 + 0.01 * np.random.default_rng(0).standard_normal(400)))
    assert isinstance(ask(DIVERGING, run), Ill)
    assert not isinstance(ask(NOT_DECREASING, run), Ill)


def test_a_constant_loss_is_not_diverging():
    assert isinstance(ask(DIVERGING, Run("r", scalars={"loss": series(np.full(100, 1.0))})), Passed)


@pytest.mark.parametrize(("every", "wall"), [(10, 10.0), (1, 10.0), (500, 10.0)])
def test_validation_is_aligned_with_training_whatever_its_steps_count(every: int, wall: float):
    train, val = series(fall(300)), series(fall(30), every, wall)
    curves = [losses.LossCurve("", s.steps, s.walls, s.values) for s in (train, val)]
    aligned = departure.aligned(*curves)
    assert np.abs(aligned - np.arange(30) * 10).max() <= 1


def test_validation_without_usable_wall_times_is_aligned_by_its_share_of_the_way():
    train, val = series(fall(300), wall=0.0), series(fall(30), wall=0.0)
    curves = [losses.LossCurve("", s.steps, s.walls, s.values) for s in (train, val)]
    aligned = departure.aligned(*curves)
    assert (aligned[0], aligned[-1]) == (0, 299)
    assert (np.diff(aligned) > 0).all()


def _overfitted(accuracy: np.ndarray | None) -> Run:
    t = np.linspace(0, 1, 40)
    run = Run("r", scalars={"train_loss": series(fall(400)), "val_loss": series(0.5 + 2 * np.exp(-8 * t) + t, 10)})
    if accuracy is not None:
        run.scalars["val_acc"] = series(accuracy, 10)
    return run


def test_overconfident_is_information_and_overfitted_a_warning():
    best_at_end, worse_at_end = np.linspace(0.5, 0.9, 40), np.concatenate((np.linspace(0.5, 0.9, 20), np.full(20, 0.7)))
    for accuracy, severity in ((None, "warning"), (best_at_end, "info"), (worse_at_end, "warning")):
        outcome = ask(OVERFITTING, _overfitted(accuracy))
        assert isinstance(outcome, Ill)
        assert outcome.hits[0].severity == severity


def test_a_rise_that_is_nothing_beside_the_first_loss_is_no_overfitting():
    values = np.concatenate(([0.10, 0.09], np.linspace(0.08, 0.10, 20)))
    run = Run("r", scalars={"train_loss": series(fall(220) - 0.1), "val_loss": series(values, 10)})
    assert isinstance(ask(OVERFITTING, run), Passed)


@pytest.mark.parametrize("rule", [NOT_DECREASING, DIVERGING, OVERFITTING])
def test_a_loss_that_is_only_nan_is_too_little_data(rule: Rule):
    nan = series(np.full(60, np.nan))
    outcome = ask(rule, Run("r", scalars={"train_loss": nan, "val_loss": nan}))
    assert isinstance(outcome, (TooLittleData, NotApplicable))
