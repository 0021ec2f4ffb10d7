"""Attention heads in the layer's reply, in the list of layers, and as statistics of the heatmap."""

from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.derive import BY_ID, attention_heads
from tb_nnhealth.plugin.arrays import decode
from tb_nnhealth.plugin.attention import HEADS_SHOWN
from tb_nnhealth.plugin.heatmap import heatmap
from tb_nnhealth.plugin.layer import layer
from tb_nnhealth.plugin.model import model
from tb_nnhealth.report.build import build
from tb_nnhealth.rules.activations.attention_heads import attending
from tb_nnhealth.rules.engine import judge


def test_heads_of_the_module_and_only_the_records_that_read_them() -> None:
    found = layer(attending(logit=300.0, ill=2).run(), "attention")["attention"]
    assert found["layer"] == "attention"
    assert found["heads"] == [0, 1, 2, 3]
    assert [span[0] for span in found["steps"]][:18] == [*range(17), 20]
    largest = decode(found["strips"][0]["values_f32"], 4, len(found["steps"]))
    assert largest[:, -1].tolist() == [300, 300, 8, 8]
    entropy = decode(found["strips"][1]["values_f32"], 4, len(found["steps"]))
    assert entropy == pytest.approx(0.6)


def test_a_layer_within_the_module_shows_it_and_its_neighbours_do_not() -> None:
    network = attending()
    network.add_row(schema.ATTENTION, "layers:0", (64,), max=5.0, mean=0.5)
    run = network.run()
    assert layer(run, "layers.2")["attention"]["layer"] == "layers"
    assert layer(attending().run(), "layers.2")["attention"] is None


def test_a_spike_of_one_reading_is_not_lost_in_few_columns() -> None:
    network = attending(since=500)
    spiked = np.where(np.arange(200) == 100, 900.0, network.get(schema.ATTENTION, "attention:3", schema.MAX))
    network.set(schema.ATTENTION, "attention:3", max=spiked)
    found = layer(network.run(), "attention", limit=6)["attention"]
    assert len(found["steps"]) == 6
    assert decode(found["strips"][0]["values_f32"], 4, 6)[3].max() == 900


def test_many_heads_are_cut_and_counted() -> None:
    found = layer(attending(heads=70).run(), "attention")["attention"]
    assert len(found["heads"]) == HEADS_SHOWN
    assert found["heads_left_out"] == 70 - HEADS_SHOWN


def test_heads_stand_in_the_order_of_their_numbers() -> None:
    tables = attention_heads(attending(heads=12).run().watches[schema.DEFAULT_WATCH], schema.MAX)
    assert tables["attention"].subjects == tuple(str(i) for i in range(12))


def test_heatmap_shows_the_largest_logit_and_the_median_entropy() -> None:
    run = attending(logit=300.0, entropy=0.01, ill=1).run()
    logit, entropy = heatmap(run, BY_ID["attention-logit"]), heatmap(run, BY_ID["attention-entropy"])
    assert logit["layers"] == entropy["layers"] == ["attention"]
    assert logit["worst"][0] == {"value": 300.0, "step": 60}
    assert entropy["worst"][0]["value"] == pytest.approx(0.6)
    described = model(run)
    assert {"attention-logit", "attention-entropy"} <= {statistic["id"] for statistic in described["statistics"]}
    assert next(entry for entry in described["layers"] if entry["name"] == "attention")["parameters"] == []


def test_a_finding_opens_the_statistic_that_was_judged() -> None:
    run = attending(logit=300.0).run()
    report = build(run, judge(run))
    finding = next(f for f in report["findings"] if f["rule"] == "exploding-activations")
    assert finding["statistic_id"] == "attention-logit"
    assert finding["layers"] == ["attention"]
    assert "all 4 heads" in finding["message"]
