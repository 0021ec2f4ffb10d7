"""What weight decay is told to have left of the weights, and its part of a step."""

from __future__ import annotations

import math

import pytest

from tb_nnhealth import schema
from tb_nnhealth.rules.loss.shrunk_weights import decay_in_force
from tb_nnhealth.rules.synthetic import Network


@pytest.mark.filterwarnings("error")
def test_matrix_that_never_moves_does_not_hide_the_others() -> None:
    def balance(resting: bool) -> float:
        network = Network(lr=0.1)
        network.layout.optimizers[0].groups[0].weight_decay = 0.1
        if resting:
            network.scale(schema.UPDATE, network.weight(0), 0.0)
        (history,) = network.run().watches.values()
        decay = decay_in_force(history, 200)
        assert decay is not None
        return decay.balance

    assert math.isfinite(balance(resting=True))
    assert balance(resting=True) == pytest.approx(balance(resting=False), rel=0.3)
