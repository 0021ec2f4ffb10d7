"""What is said of a healthy training while it is under way: nothing that will have been wrong at its end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.synthetic import Network

_AT = np.arange(400)
_STARTS_LATE = 0.2 + 2.1 / (1 + np.exp((_AT - 175.0) / 10))
"""Stands for 150 steps, is half way down at 175, and at rest from 230 on."""


def _loss(values: np.ndarray, tag: str = "loss") -> Run:
    noisy = values + 0.02 * np.random.default_rng(0).standard_normal(len(values))
    return Run("run", scalars={tag: Series([(i, float(i), float(v)) for i, v in enumerate(noisy)])})


def _units(kind: str, statistic: str, *, agent: bool) -> Run:
    """A layer of which three fifths no longer answer, in a classifier that learns nothing or in an agent."""
    network = Network(nonlinearity="tanh" if kind == schema.ACTIVATION else "relu", classes=10)
    network.set(kind, "layers.2", **{statistic: 0.2 + 0.4 * np.clip((network.at - 15) / 15, 0, 1)})
    if not agent:
        return network.set(schema.LOSS, "", mean=np.log(10)).run()
    network.absent(schema.LOSS, "").layout.criterion.Clear()
    return network.loss(-0.02 * network.at, tag="rollout/ep_rew_mean", noise=0.01).run()


def _batches(of: int) -> Run:
    """110 steps at a constant answer's cost, each of ``of`` samples."""
    network = Network(steps=110, classes=10)
    network.layout.batch_size = of
    return network.set(schema.LOSS, "", mean=np.log(10)).loss(np.full(110, np.log(10)), noise=0.05).run()


def _severities(run: Run, rule: str) -> set[str]:
    return {finding.severity for finding in judge(run).findings if finding.rule == rule}


@pytest.mark.parametrize(("rule", "under_way", "at_the_end"), [
    ("slow-start", lambda: _loss(_STARTS_LATE[:200]), lambda: _loss(_STARTS_LATE[:320])),
    ("loss-not-decreasing", lambda: _batches(1), lambda: _batches(32)),
    *(
        (rule, partial(_units, *told, agent=True), partial(_units, *told, agent=False))
        for rule, *told in (
            ("saturated-units", schema.ACTIVATION, "saturated_share"),
            ("dead-units", schema.ACTIVATION_GRADIENT, "silent_share"),
        )
    ),
])  # fmt: skip
def test_what_may_still_come_right_is_information(
    rule: str, under_way: Callable[[], Run], at_the_end: Callable[[], Run]
) -> None:
    assert _severities(under_way(), rule) == {"info"}
    assert _severities(at_the_end(), rule) & {"warning", "critical"}
