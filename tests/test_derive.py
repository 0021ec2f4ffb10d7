from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth import derive, schema
from tb_nnhealth.derive import BY_ID, STATISTICS
from tb_nnhealth.history import History
from tb_nnhealth.rules.synthetic import Network


def history(network: Network) -> History:
    return network.run().watches[schema.DEFAULT_WATCH]


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda statistic: statistic.id)
def test_every_statistic_of_a_healthy_network_lies_in_its_band(statistic):
    table = statistic.table(history(Network()))
    low, high = statistic.healthy(table)
    measured = table.values[np.isfinite(table.values)]
    assert table.values.shape == (200, len(table.subjects))
    assert ((measured >= low) & (measured <= high)).all()


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda statistic: statistic.id)
def test_every_statistic_of_an_empty_history_is_an_empty_table(statistic):
    empty = History(Network().layout)
    table = statistic.table(empty)
    assert table.values.shape[0] == 0
    low, high = statistic.healthy(table)
    assert low <= high


def test_update_ratio_is_the_quotient_of_norms_and_absent_for_weights_of_zero():
    network = Network().set(schema.WEIGHT, "layers.1.weight", rms=0.5).set(schema.UPDATE, "layers.1.weight", rms=0.01)
    network.set(schema.WEIGHT, "layers.2.weight", rms=0.0)
    table = BY_ID["update-ratio"].table(history(network))
    assert table.values[:, table.subjects.index("layers.1.weight")] == pytest.approx(0.02)
    assert np.isnan(table.values[:, table.subjects.index("layers.2.weight")]).all()


def test_norm_is_rms_times_root_of_elements():
    network = Network(width=16).set(schema.GRADIENT, "layers.0.weight", rms=0.5)
    table = derive.norm(history(network), schema.GRADIENT)
    assert table.values[:, table.subjects.index("layers.0.weight")] == pytest.approx(0.5 * 16)


def test_weight_norm_is_relative_to_its_own_start():
    network = Network().set(schema.WEIGHT, "layers.0.weight", rms=np.linspace(0.2, 0.4, 200))
    table = BY_ID["weight-norm"].table(history(network))
    column = table.values[:, table.subjects.index("layers.0.weight")]
    assert (column[0], column[-1]) == (pytest.approx(1.0), pytest.approx(2.0))


def test_non_finite_is_a_share_of_elements():
    network = Network(width=10).set(schema.ACTIVATION, "layers.0", nan_count=16.0, inf_count=16.0)
    table = BY_ID["non-finite"].table(history(network))
    assert table.values[:, table.subjects.index("layers.0")] == pytest.approx(0.1)


def test_dead_units_are_seen_in_the_output_or_in_the_gradient():
    network = Network()
    network.set(schema.ACTIVATION, "layers.1", silent_share=0.7)
    network.set(schema.ACTIVATION_GRADIENT, "layers.2", silent_share=0.6)
    table = BY_ID["dead-units"].table(history(network))
    assert table.values[-1].tolist() == pytest.approx([0, 0.7, 0.6, 0, 0, 0])


def test_a_dead_layer_does_not_make_those_before_it_dead():
    network = Network()
    network.set(schema.ACTIVATION, "layers.3", silent_share=1.0, max=0.0)
    for layer in ("layers.0", "layers.1", "layers.2"):
        network.set(schema.ACTIVATION_GRADIENT, layer, silent_share=1.0)
    table = BY_ID["dead-units"].table(history(network))
    assert table.values[-1].tolist() == [0, 0, 0, 1, 0, 0]
