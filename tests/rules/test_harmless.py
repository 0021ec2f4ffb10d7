"""What stands out of a training that goes well is told for information only."""

from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.findings import Finding
from tb_nnhealth.history import Run
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.registry import RULES
from tb_nnhealth.rules.synthetic import Network


def _finding(run: Run, rule: str) -> Finding:
    return next(finding for finding in judge(run).findings if finding.rule == rule)


@pytest.mark.parametrize(("score", "severity"), [(False, "warning"), (True, "info")])
def test_a_gradient_spike_harms_no_score(score: bool, severity: str) -> None:
    """A policy's loss goes up and down through zero: that it is high after a spike says nothing."""
    network, t = Network(), np.arange(200)
    for parameter in network.layout.parameters:
        network.scale(schema.GRADIENT, parameter.name, np.where(t == 120, 20.0, 1.0))
    loss = network.get(schema.LOSS, "", schema.MEAN) + np.where((t > 120) & (t <= 140), 2.0, 0.0)
    if score:
        loss = np.where((t < 100) & (t % 10 == 0), -1.0, loss)
    network.set(schema.LOSS, "", mean=loss)
    assert _finding(network.run(), "gradient-spike").severity == severity


@pytest.mark.parametrize(("factor", "severity"), [(150.0, "info"), (300.0, "warning")])
def test_updates_a_little_too_large_do_not_harm_what_learns(factor: float, severity: str) -> None:
    network, t = Network(), np.arange(200)
    network.scale(schema.UPDATE, network.weight(3), np.where(t >= 30, factor, 1.0).astype(np.float32))
    network.set(schema.LOSS, "", mean=0.7 + 1.6 * np.exp(-t / 30))
    assert _finding(network.run(), "update-ratio-too-high").severity == severity


@pytest.mark.parametrize(("title", "severity"), [("it holds: information", "info"), ("it does not", "warning")])
def test_a_series_that_moves_on_harms_no_model_that_answers_there_too(title: str, severity: str) -> None:
    rule = next(rule for rule in RULES if rule.id == "input-range-mismatch")
    example = next(example for example in rule.examples if example.title == f"later years, where {title}")
    assert _finding(example.build(), rule.id).severity == severity
