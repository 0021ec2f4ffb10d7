from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth import derive, schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.messages import Layout, Module, Parameter, Row
from tb_nnhealth.plugin import heatmap as heatmaps
from tb_nnhealth.plugin.arrays import decode
from tb_nnhealth.plugin.heatmap import heatmap
from tb_nnhealth.plugin.layers import forward_order, layered, layers_of
from tb_nnhealth.rules.synthetic import Network

RATIO = derive.BY_ID["update-ratio"]
STD = derive.BY_ID["activation-std"]


def cells(found: dict) -> np.ndarray:
    return decode(found["values_f32"], len(found["layers"]), len(found["steps"]))


def spike(steps: int, at: int, factor: float) -> np.ndarray:
    return np.where(np.arange(steps) == at, factor, 1.0)


def test_a_spike_of_one_step_survives_in_its_column() -> None:
    network = Network(steps=1000)
    network.scale(schema.UPDATE, "layers.2.weight", spike(1000, 617, 100.0))
    found = heatmap(network.run(), RATIO, limit=10)
    assert found["steps"][6] == [600, 699]
    assert cells(found)[2, 6] == pytest.approx(0.1, rel=0.3)
    assert cells(found)[[0, 1, 3, 4, 5], 6].max() < 0.01
    assert found["worst"][2]["step"] == 617
    assert found["records"] == 1000


def test_a_dip_of_one_step_survives_too() -> None:
    network = Network(steps=100)
    network.scale(schema.ACTIVATION, "layers.1", spike(100, 42, 1e-4))
    found = heatmap(network.run(), STD, limit=5)
    assert cells(found)[1, 2] < 1e-3


def test_zooming_shows_the_records_of_the_range() -> None:
    found = heatmap(Network(steps=100).run(), RATIO, start=20, end=29, limit=400)
    assert [span[0] for span in found["steps"]] == list(range(20, 30))
    assert found["records"] == 10
    empty = heatmap(Network(steps=100).run(), RATIO, start=500)
    assert empty["steps"] == []
    assert empty["worst"] == [None] * 6


def test_a_layer_shows_its_matrices_and_not_its_biases() -> None:
    network = Network(steps=20)
    network.scale(schema.UPDATE, "layers.0.bias", 1e4)
    assert cells(heatmap(network.run(), RATIO)).max() < 0.01


def test_missing_records_are_nan_and_layers_without_data_are_left_out() -> None:
    network = Network(steps=20).absent(schema.UPDATE, "layers.1.weight", since=10)
    network.absent(schema.UPDATE, "layers.2.weight")
    found = heatmap(network.run(), RATIO)
    assert found["layers"] == ["layers.0", "layers.1", "layers.3", "layers.4", "layers.5"]
    assert np.isnan(cells(found)[1]).tolist() == [False] * 10 + [True] * 10


def test_a_warm_up_is_neutral_and_does_not_count_as_worst() -> None:
    network = Network(steps=100)
    warm = np.minimum(np.arange(100) / 50, 1.0)
    network.set(schema.LEARNING_RATE, "0.0", mean=1e-3 * warm)
    for i in range(network.depth):
        network.scale(schema.UPDATE, network.weight(i), warm)
    network.scale(schema.UPDATE, "layers.3.weight", 1e-3)
    found = heatmap(network.run(), RATIO)
    assert [span for span in found["neutral"] if span[0] == 0] == [[0, 0, found["neutral"][0][2]]]
    assert 8 <= found["neutral"][0][2] <= 20
    assert cells(found)[0, 0] == 0
    assert found["worst"][0]["step"] > found["neutral"][0][2]
    assert not any(layer == 3 and last > 0 for layer, _, last in found["neutral"]), "a small update at full rate is ill"


def test_a_column_prefers_what_the_band_applies_to() -> None:
    network = Network(steps=10)
    rate = np.where(np.arange(10) == 0, 0.0, 1e-3)
    network.set(schema.LEARNING_RATE, "0.0", mean=rate)
    network.scale(schema.UPDATE, "layers.0.weight", rate / 1e-3)
    found = heatmap(network.run(), RATIO, limit=1)
    assert cells(found)[0, 0] > 0
    assert found["neutral"] == []


def test_frozen_parameters_are_neutral() -> None:
    network = Network(steps=10)
    network.layout.parameters[0].trainable = False
    network.scale(schema.UPDATE, "layers.0.weight", 0.0)
    assert heatmap(network.run(), RATIO)["neutral"] == [[0, 0, 9]]


def test_layers_of_vectors_alone_are_neutral_in_ratios_and_gradients() -> None:
    network = Network(steps=50)
    for parameter in network.layout.parameters[4:6]:  # of layers.2
        del parameter.shape[1:]
    for name in ("layers.2.weight", "layers.2.bias"):
        network.scale(schema.UPDATE, name, 1e4).scale(schema.GRADIENT, name, 1e4)
    for statistic in ("update-ratio", "gradient-norm"):
        found = heatmap(network.run(), derive.BY_ID[statistic])
        assert found["neutral"] == [[2, 0, 49]]
        assert found["worst"][2] is None
    assert heatmap(network.run(), derive.BY_ID["weight-norm"])["neutral"] == []


def test_the_first_steps_may_go_further_up_to_the_rules_limit() -> None:
    network = Network(steps=100)
    network.set(schema.UPDATE, "layers.1.weight", rms=0.05 * network.get(schema.WEIGHT, "layers.1.weight", schema.RMS))
    network.set(schema.UPDATE, "layers.3.weight", rms=0.5 * network.get(schema.WEIGHT, "layers.3.weight", schema.RMS))
    found = heatmap(network.run(), RATIO)
    assert found["neutral"] == [[1, 0, 19]]
    assert found["worst"][1]["step"] >= 20
    network.layout.rules_json = '{"update-ratio-too-high": {"opening": 5}}'
    assert heatmap(network.run(), RATIO)["neutral"] == [[1, 0, 4]]
    network.layout.rules_json = '{"update-ratio-too-high": false}'
    assert heatmap(network.run(), RATIO)["neutral"] == []


def test_an_embeddings_output_may_have_any_scale() -> None:
    network = Network(steps=10)
    network.layout.modules[0].type = "Embedding"
    network.scale(schema.ACTIVATION, "layers.0", 1e-3).scale(schema.ACTIVATION, "layers.1", 1e-3)
    assert heatmap(network.run(), STD)["neutral"] == [[0, 0, 9]]


def test_non_finite_values_anywhere_in_a_layer_are_marked() -> None:
    network = Network(steps=100)
    late = np.where(np.arange(100) >= 60, 3.0, 0.0)
    network.set(schema.ACTIVATION, "layers.1", nan_count=late)
    network.set(schema.GRADIENT, "layers.4.bias", inf_count=np.where(np.arange(100) == 7, 1.0, 0.0))
    for statistic in (RATIO, STD):
        found = heatmap(network.run(), statistic, limit=10)
        assert found["non_finite"] == [[1, 60, 99], [4, 7, 7]]
    assert heatmap(network.run(), RATIO, start=80, end=90)["non_finite"] == [[1, 80, 90]]


def test_non_finite_stretches_far_apart_stay_apart() -> None:
    network = Network(steps=100)
    network.set(schema.GRADIENT, "layers.0.weight", nan_count=np.isin(np.arange(100), (3, 4, 70)).astype(float))
    assert heatmap(network.run(), RATIO, limit=10)["non_finite"] == [[0, 3, 4], [0, 70, 70]]


def test_two_watches_stand_in_one_map_with_their_prefix() -> None:
    first, second = Network(steps=40, depth=2), Network(steps=20, depth=3)
    run = Run("gan", watches={schema.DEFAULT_WATCH: history_of(first), "critic": history_of(second)})
    found = heatmap(run, STD)
    assert found["layers"] == ["layers.0", "layers.1", "critic.layers.0", "critic.layers.1", "critic.layers.2"]
    assert np.isnan(cells(found)).sum() == 3 * 20


def history_of(network: Network) -> History:
    return network.run().watches[schema.DEFAULT_WATCH]


def test_a_run_of_scalars_has_an_empty_map() -> None:
    found = heatmap(Run("plain"), RATIO)
    assert (found["layers"], found["steps"], found["worst"], found["values_f32"]) == ([], [], [], "")


def test_many_layers_get_fewer_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heatmaps, "CELLS", 120)
    monkeypatch.setattr(heatmaps, "COLUMNS_LEAST", 2)
    monkeypatch.setattr(heatmaps, "LAYERS_MOST", 5)
    found = heatmap(Network(steps=100).run(), RATIO)
    assert len(found["layers"]) == 5
    assert found["layers_left_out"] == 1
    assert len(found["steps"]) == 24


def test_owners_of_parameters_stand_where_they_are_called() -> None:
    modules = ["embed", "blocks.0.attn.out", "blocks.0.mlp", "head"]
    assert forward_order(modules, ["", "embed", "blocks.0.attn", "blocks.0.mlp", "head", "unused"]) == [
        "", "embed", "blocks.0.attn", "blocks.0.attn.out", "blocks.0.mlp", "head", "unused",
    ]  # fmt: skip


def test_the_worst_of_several_matrices_speaks_for_their_layer() -> None:
    rows = [Row(kind=schema.WEIGHT, subject=name, shape=(4, 4)) for name in ("rnn.a", "rnn.b")]
    parameters = [Parameter(name=name, module="rnn", shape=(4, 4), trainable=True) for name in ("rnn.a", "rnn.b")]
    layout = Layout(
        watch="model", columns=[schema.RMS], rows=rows, modules=[Module(name="rnn", type="RNN")], parameters=parameters
    )
    history = History(layout)
    for step, values in enumerate(([1, 1], [1, 5], [0.01, 1])):
        history.append(step, 0.0, np.array(values, np.float32)[:, None])
    table = layered(Run("r", watches={"model": history}), derive.BY_ID["weight-norm"])
    assert [layer.name for layer in table.layers] == ["rnn"]
    assert table.parts[0].values[:, 0].tolist() == pytest.approx([1, 5, 0.01])


def test_layers_carry_type_and_parameters() -> None:
    first = layers_of(Network(depth=2).run())[0]
    assert (first.name, first.type, first.watch) == ("layers.0", "Linear", "model")
    assert first.judged_parameters == ("layers.0.weight",)
