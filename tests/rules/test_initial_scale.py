"""Advice names the scale at which the layer that leads a finding should have begun."""

from __future__ import annotations

import math

import pytest

from tb_nnhealth import schema
from tb_nnhealth.history import Run
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.weights.initial_scale import layer_scale


def exploding(factor: float) -> Run:
    """Activations that triple per layer, by weights ``factor`` times He's scale."""
    network = Network(depth=10)
    for i in range(10):
        network.scale(schema.ACTIVATION, network.layer(i), 3.0**i)
    for parameter in network.layout.parameters:
        parameter.initial_rms *= factor
    return network.set(schema.LOSS, "", mean=2.0).run()


def advice(run: Run, rule: str) -> tuple[str, ...]:
    return next(finding.advice for finding in judge(run).findings if finding.rule == rule)


def test_weights_far_off_are_the_first_advice() -> None:
    told = advice(exploding(4.0), "exploding-activations")[0]
    assert "`layers.5.weight` began at 0.71" in told
    assert "He's scheme for fan-in 64 gives 0.18: torch.nn.init.kaiming_normal_(weight)" in told


@pytest.mark.parametrize("factor", [1.0, 0.2])
def test_weights_that_are_not_too_large_are_not_named(factor: float) -> None:
    assert not any("began at" in line for line in advice(exploding(factor), "exploding-activations"))


def test_a_module_without_weights_is_told_by_the_layer_before_it() -> None:
    layout = Network(depth=3).add_module("act", "ReLU").layout
    scale = layer_scale(layout, "act")
    assert scale is not None
    assert scale.parameter == "layers.2.weight"
    assert scale.expected == pytest.approx(math.sqrt(2 / (64 + 64)))


def test_a_module_with_several_matrices_has_no_scale() -> None:
    layout = Network(depth=3).layout
    for parameter in layout.parameters:
        parameter.module = "cells"
    assert layer_scale(layout, "layers.1.weight") is None
