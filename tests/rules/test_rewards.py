"""What a policy earns tells that it learns, where its loss cannot."""

from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.evidence.progress import progress
from tb_nnhealth.rules.evidence.rewards import earned, rewards
from tb_nnhealth.rules.evidence.tags import main_loss, moving_target
from tb_nnhealth.rules.synthetic import Network

STEPS = np.arange(200.0)
NOISE = np.random.default_rng(3).standard_normal(200)


def logged(values: np.ndarray, tag: str = "charts/episodic_return") -> Run:
    return Run("policy", scalars={tag: Series([(i, float(i), float(v)) for i, v in enumerate(values)])})


@pytest.mark.parametrize("tag", ["charts/episodic_return", "rollout/ep_rew_mean", "EpRet", "Reward/episode"])
def test_a_return_that_rises_amid_noise(tag: str) -> None:
    gain = earned(logged(20 + STEPS + 15 * NOISE, tag))
    assert gain is not None
    assert gain.tag == tag
    assert gain.last > gain.first + 100


@pytest.mark.parametrize(
    "values",
    [20 + 15 * NOISE, 200 - STEPS + 15 * NOISE, 100 - np.abs(STEPS - 100) + 3 * NOISE, 20 + STEPS * np.nan],
    ids=["noise", "falls", "lost again", "not finite"],
)
def test_a_return_that_was_not_kept(values: np.ndarray) -> None:
    assert earned(logged(values)) is None


def test_progress_is_that_of_the_rewards() -> None:
    network = Network().loss(2.0 + 0.01 * STEPS, tag="losses/value_loss").loss(20 + STEPS, tag="charts/episodic_return")
    run = network.run()
    seen = progress(run, next(iter(run.watches.values())))
    assert seen is not None
    assert seen.learned
    assert not seen.stuck
    assert not seen.diverged
    assert seen.outcome.startswith("`charts/episodic_return` has risen from")


def test_a_lone_regularizer_is_not_the_whole_loss() -> None:
    assert main_loss(logged(STEPS, "vq_loss"), "train") is None
    assert main_loss(logged(STEPS, "reconstruction_loss"), "train") is not None


def test_a_model_of_preferences_is_judged_by_its_loss() -> None:
    network = Network().loss(0.7 - 0.003 * STEPS, tag="train/loss")
    run = network.loss(-STEPS, tag="train/rewards/chosen").run()
    assert moving_target(run).startswith("reinforcement")
    run.scalars["train/rewards/accuracies"] = Series([(i, float(i), 0.5 + 0.002 * i) for i in range(200)])
    assert moving_target(run) == ""
    assert list(rewards(run)) == []
