from __future__ import annotations

import math

import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.history import Run
from tb_nnhealth.plugin import model as models
from tb_nnhealth.plugin.arrays import decode
from tb_nnhealth.plugin.distribution import distribution, mean_magnitude, percentile
from tb_nnhealth.plugin.layer import layer
from tb_nnhealth.plugin.model import expected_rms, model
from tb_nnhealth.rules.synthetic import Network


def counts_of(values: np.ndarray) -> np.ndarray:
    """Counts by exponent as the recorder makes them, shape (1, bins)."""
    counts = np.zeros(schema.HISTOGRAM_BINS, np.int32)
    finite = values[np.isfinite(values)]
    counts[0] = (finite == 0).sum()
    exponents = np.floor(np.log2(np.abs(finite[finite != 0]))).astype(int)
    np.add.at(counts, np.clip(exponents, schema.EXPONENT_LOW, schema.EXPONENT_HIGH) - schema.EXPONENT_LOW + 1, 1)
    counts[-1] = (~np.isfinite(values)).sum()
    return counts[None]


def test_percentiles_and_mean_come_close_to_those_of_the_elements() -> None:
    values = np.random.default_rng(0).standard_normal(20_000)
    counts = counts_of(values)
    for share in (0.05, 0.5, 0.95):
        assert percentile(counts, share)[0] == pytest.approx(np.quantile(np.abs(values), share), rel=0.15)
    assert mean_magnitude(counts)[0] == pytest.approx(np.abs(values).mean(), rel=0.1)


def test_zeros_count_and_non_finite_elements_do_not() -> None:
    counts = counts_of(np.array([0.0] * 90 + [1.0] * 10 + [np.nan] * 100))
    assert percentile(counts, 0.5)[0] == 0
    assert percentile(counts, 0.95)[0] >= 1
    assert mean_magnitude(counts)[0] == pytest.approx(0.15)
    assert math.isnan(percentile(counts_of(np.array([np.nan])), 0.5)[0])


def with_histograms(network: Network, every: int = 1) -> Run:
    run = network.run()
    history = run.watches[schema.DEFAULT_WATCH]
    values = np.concatenate((np.zeros(10), np.ones(80), np.full(10, np.inf)))
    for step in network.at[::every]:
        history.append_histogram(int(step), 0.0, np.repeat(counts_of(values), len(network.layout.rows), axis=0))
    return run


def test_a_distribution_holds_shares_of_all_elements() -> None:
    run = with_histograms(Network(steps=40), every=4)
    found = distribution(run.watches["model"], schema.WEIGHT, "layers.1.weight", 400)
    assert found is not None
    assert found["steps"] == list(range(0, 40, 4))
    shares = decode(found["shares_f32"], 10, schema.EXPONENT_BINS)
    assert shares.sum(axis=1) == pytest.approx(0.8)
    assert shares[0, -found["exponent_low"]] == pytest.approx(0.8)
    assert decode(found["zero_f32"]) == pytest.approx(0.1)
    assert decode(found["non_finite_f32"]) == pytest.approx(0.1)
    assert decode(found["max_f32"])[0] == pytest.approx(3 * math.sqrt(2 / 64), rel=0.3)
    assert distribution(run.watches["model"], schema.WEIGHT, "no such", 400) is None


def test_distributions_of_many_records_are_added_up() -> None:
    run = with_histograms(Network(steps=40))
    found = distribution(run.watches["model"], schema.WEIGHT, "layers.1.weight", 8)
    assert found is not None
    assert found["steps"] == list(range(0, 40, 5))
    assert decode(found["zero_f32"]) == pytest.approx(0.1)


def test_a_layer_has_its_four_panels() -> None:
    network = Network(steps=60).scale(schema.UPDATE, "layers.2.weight", np.where(np.arange(60) == 33, 1e3, 1.0))
    found = layer(with_histograms(network), "layers.2", limit=10)
    assert found is not None
    assert [panel["id"] for panel in found["panels"]] == ["activations", "gradients", "weights", "updates"]
    updates = found["panels"][3]
    assert updates["steps"][5] == 33
    assert decode(updates["values_f32"])[5] == decode(updates["high_f32"])[5] == pytest.approx(1.0, rel=0.3)
    assert all(panel["distribution"] is not None for panel in found["panels"])
    assert found["layer"]["parameters"][0]["group"] == 0
    assert len(found["learning_rate"]["steps"]) == 10
    assert layer(network.run(), "layers.99") is None


def test_a_panel_draws_the_limit_that_a_finding_crossed_before_the_rules_others() -> None:
    network = Network(steps=60).scale(schema.UPDATE, "layers.2.weight", 1e3)
    run = network.run()
    crossed = {
        "rule": "update-ratio-too-high", "statistic_id": "update-ratio", "layers": ["layers.2"],
        "first_step": 0, "last_step": 59,
        "evidence": {"statistic": "update_ratio", "unit": "per step", "limit": 0.5, "value": 1.0, "direction": "above"},
    }  # fmt: skip

    def updates(name: str) -> dict:
        found = layer(run, name, [crossed])
        assert found is not None
        return found["panels"][3]

    assert (updates("layers.2")["limit"], updates("layers.2")["direction"]) == (0.5, "above")
    assert [limit["rule"] for limit in updates("layers.2")["limits"]] == [
        "update-ratio-too-high",
        "update-ratio-too-low",
    ]
    assert updates("layers.3")["limit"] == 0.1


def test_a_layer_without_parameters_has_activations_alone() -> None:
    network = Network(steps=10)
    del network.layout.parameters[:2]
    found = layer(network.run(), "layers.0")
    assert found is not None
    assert [panel["id"] for panel in found["panels"]] == ["activations"]
    assert found["panels"][0]["distribution"] is None
    assert found["learning_rate"]["steps"] == []


def test_the_model_lists_layers_parameters_and_statistics() -> None:
    found = model(Network(steps=10, depth=2).run())
    assert (found["first_step"], found["last_step"]) == (0, 9)
    assert [entry["name"] for entry in found["layers"]] == ["layers.0", "layers.1"]
    weight = found["layers"][0]["parameters"][0]
    assert (weight["shape"], weight["numel"], weight["optimizer"], weight["group"]) == ([64, 64], 4096, "AdamW", 0)
    assert weight["expected_rms"][0] < weight["initial_rms"] < weight["expected_rms"][1]
    ids = [statistic["id"] for statistic in found["statistics"]]
    assert "update-ratio" in ids
    assert "saturated-units" not in ids, "nothing was measured of it"
    assert set(found["layers"][0]["statistics"]) == set(ids)


def test_a_parameter_that_no_optimizer_holds() -> None:
    network = Network(steps=10, depth=2)
    network.layout.parameters[0].optimizer = network.layout.parameters[0].group = -1
    found = model(network.run())["layers"][0]["parameters"][0]
    assert (found["optimizer"], found["group"], found["weight_decay"]) == (None, None, None)


def test_a_model_too_large_to_describe_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "PARAMETERS_MOST", 3)
    found = model(Network(steps=10, depth=2).run())
    assert found["parameters_left_out"] is True
    assert [entry["parameters"] for entry in found["layers"]] == [[], []]


def test_a_run_of_scalars_has_no_model() -> None:
    assert model(Run("plain")) == {
        "first_step": None, "last_step": None, "statistics": [], "layers": [], "parameters_left_out": False,
        "ranks": False,
    }  # fmt: skip


def test_the_usual_schemes_lie_in_the_expected_range() -> None:
    low, high = expected_rms(256, 64) or (0, 0)
    for scheme in (1 / math.sqrt(3 * 256), math.sqrt(2 / 256), math.sqrt(2 / 320)):
        assert low < scheme < high
    assert expected_rms(0, 0) is None
