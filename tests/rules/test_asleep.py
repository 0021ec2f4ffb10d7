"""Layers in front of one that was begun at zero get no gradient until it has woken."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import Run
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.evidence.asleep import asleep
from tb_nnhealth.rules.evidence.weights import weights_of
from tb_nnhealth.rules.synthetic import Network

STEPS = 200


def _a_branch_whose_last_begins_at_zero(optimizer: str) -> Run:
    """Layers 0 to 2 have no way to the loss but through layer 3, which hardly moves."""
    network, t = Network(steps=STEPS), np.arange(STEPS, dtype=np.float64)
    network.layout.optimizers[0].type = optimizer
    network.set(schema.WEIGHT, network.weight(3), rms=1e-6 * t)
    network.layout.parameters[6].initial_rms = 0.0
    for layer in range(3):
        network.scale(schema.GRADIENT, network.weight(layer), np.where(t == 0, 0.0, 1e-4))
        network.scale(schema.UPDATE, network.weight(layer), np.where(t == 0, 0.0, 1e-4))
    return network.set(schema.LOSS, "", mean=2.3).run()


def test_all_that_have_no_other_way_wait() -> None:
    run = _a_branch_whose_last_begins_at_zero("SGD")
    waits = asleep(weights_of(run.watches[schema.DEFAULT_WATCH]).matrices_in_depth())
    assert waits[:, :3].all()
    assert not waits[:, 3:].any()


def test_one_that_had_a_gradient_from_the_first_does_not_wait() -> None:
    network = Network(steps=STEPS)
    network.set(schema.WEIGHT, network.weight(3), rms=1e-6)
    network.layout.parameters[6].initial_rms = 0.0
    waits = asleep(weights_of(network.run().watches[schema.DEFAULT_WATCH]).matrices_in_depth())
    assert waits[:, 2].all()
    assert not waits[:, :2].any()


def test_small_steps_are_no_finding_where_they_follow_the_gradient() -> None:
    def told(optimizer: str) -> set[str]:
        found = judge(_a_branch_whose_last_begins_at_zero(optimizer)).findings
        return {finding.rule for finding in found} & {"update-ratio-too-low", "vanishing-gradients"}

    assert told("SGD") == set()
    assert told("Adam") == {"update-ratio-too-low"}
