"""The small pure modules that the rules on tensors share."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.messages import Layout, Module, Parameter
from tb_nnhealth.rules.evidence.constant_answer import constant_cost
from tb_nnhealth.rules.evidence.depth import chains, forward_positions, slopes, total_change
from tb_nnhealth.rules.evidence.progress import Progress, loss_scale, progress
from tb_nnhealth.rules.evidence.steps import LEAVING, carried_away, relative_to_before
from tb_nnhealth.rules.evidence.weights import aligned, weights_of
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import apart, names, percent, round_rate, short


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.3, "0.3"), (0.21, "0.21"), (3e-3, "0.003"), (3e-5, "3e-5"), (2.5e7, "2.5e7"), (12.0, "12"), (1.0, "1"),
        (0.0, "0"), (123.0, "120"), (1e4, "1e4"), (9990.0, "1e4"), (-0.5, "-0.5"), (1e-40, "1e-40"),
        (float("nan"), "NaN"), (float("inf"), "infinity"), (float("-inf"), "-infinity"),
    ],
)  # fmt: skip
def test_short(value: float, text: str):
    assert short(value) == text


def test_rates_have_one_digit():
    assert round_rate(0.00123) == "0.001"
    assert round_rate(3.7e-5) == "4e-5"


def test_names_are_counted_where_they_are_many():
    assert names(["a", "b"]) == "`a`, `b`"
    assert names(["a", "b", "c", "d", "e"]) == "`a`, `b`, `c` and 2 more"
    assert percent(0.925) == "92.5 %"


def test_slope_of_an_exponential():
    values = np.array([3.0 * 2.0 ** np.arange(6), np.full(6, 5.0)], np.float32)
    total, factor, correlation = total_change(values)
    assert total[0] == pytest.approx(32)
    assert factor[0] == pytest.approx(2)
    assert correlation[0] == pytest.approx(1)
    assert total[1] == pytest.approx(1)


def test_slope_leaves_out_what_is_not_measured():
    values = np.array([[1, np.nan, 4, 0, 16], [1, np.nan, np.nan, 0, 16]], np.float32)
    slope, _ = slopes(values)
    assert slope[0] == pytest.approx(math.log(2))
    assert np.isnan(slope[1]), "two places are no trend"


def test_parameters_of_uncalled_modules_stand_behind_the_one_before():
    layout = Layout(
        modules=[Module(name="late", called=True), Module(name="early", called=True), Module(name="never")],
        parameters=[
            Parameter(name="free", module=""), Parameter(name="early.weight", module="early"),
            Parameter(name="early.scale", module="wrapper"), Parameter(name="late.weight", module="late"),
            Parameter(name="never.weight", module="never"),
        ],
    )  # fmt: skip
    order = forward_positions(layout, ["free", "early.weight", "early.scale", "late.weight", "never.weight", "unknown"])
    assert order.tolist() == [-1, 1, 1, 0, 0, -1]


def _layout(*modules: tuple[str, bool], zero: str = "") -> Layout:
    """A layout of modules named m0, m1, … of the given types; ``zero`` starts with zero weights."""
    named = [Module(name=f"m{i}", type=kind, called=True, normalized=n) for i, (kind, n) in enumerate(modules)]
    parameters = [
        Parameter(name=f"{m.name}.weight", module=m.name, shape=[4, 4], initial_rms=0.0 if m.name == zero else 0.5)
        for m in named
    ]
    return Layout(modules=named, parameters=parameters)


def _chains(layout: Layout) -> list[tuple[str, ...]]:
    return chains(History(layout))


def test_chain_ends_before_the_prediction():
    assert _chains(_layout(("Linear", False), ("ReLU", False), ("Conv2d", False), ("Linear", False))) == [("m0", "m2")]


def test_normalization_cuts_a_chain():
    layout = _layout(
        ("Linear", False),
        ("LayerNorm", False),
        ("Linear", False),
        ("Linear", True),
        ("Linear", False),
        ("Linear", False),
    )
    assert _chains(layout) == [("m0",), ("m2",), ("m4",)]


def test_modules_that_start_at_zero_are_in_no_chain():
    layout = _layout(("Linear", False), ("Linear", False), ("Linear", False), ("Linear", False), zero="m1")
    assert _chains(layout) == [("m0", "m2")]


def test_two_towers_are_two_chains():
    layout = _layout(*[("Linear", False)] * 7)
    for module, inputs in zip(layout.modules, ([], [], [0], [1], [2], [3], [-1]), strict=True):
        module.traced = True
        module.inputs.extend(inputs)
    layout.joints.add(inputs=[4, 5])
    assert _chains(layout) == [("m0", "m2", "m4"), ("m1", "m3", "m5")]
    del layout.modules[6], layout.joints[0]
    assert _chains(layout) == [("m0", "m2"), ("m1", "m3")], "each tower ends with a prediction"


def test_no_chain_without_linear_modules():
    assert _chains(_layout(("LSTM", False), ("Embedding", False))) == []
    assert _chains(Layout()) == []


def test_alignment_by_name():
    network = Network(depth=2, steps=3)
    table = next(iter(network.run().watches.values())).table(schema.ACTIVATION, schema.STD)
    turned = aligned(table, ["layers.1", "nobody", "layers.0"])
    np.testing.assert_array_equal(turned[:, [2, 0]], table.values)
    assert np.isnan(turned[:, 1]).all()


def test_learning_rate_of_each_parameters_group():
    network = Network(depth=2, steps=4, lr=0.5)
    network.layout.parameters[0].optimizer = -1
    weights = weights_of(next(iter(network.run().watches.values())))
    assert np.isnan(weights.lr[:, 0]).all()
    assert (weights.lr[:, 1:] == 0.5).all()


def test_initial_learning_rate_where_none_was_recorded():
    network = Network(depth=1, steps=4, lr=0.25).absent(schema.LEARNING_RATE, "0.0")
    weights = weights_of(next(iter(network.run().watches.values())))
    assert (weights.lr == 0.25).all()


def test_matrices_stand_in_forward_order():
    network = Network(depth=3)
    modules = list(network.layout.modules)
    del network.layout.modules[:]
    network.layout.modules.extend(modules[::-1])
    weights = weights_of(next(iter(network.run().watches.values()))).matrices_in_depth()
    assert weights.names == ("layers.2.weight", "layers.1.weight", "layers.0.weight")
    assert weights.weight.shape == (200, 3)


def test_update_relative_to_the_weights_before_they_grew():
    network = Network(depth=1, steps=30)
    growth = np.where(np.arange(30) < 10, 1.0, 100.0)
    network.set(schema.WEIGHT, "layers.0.weight", rms=growth).set(schema.UPDATE, "layers.0.weight", rms=growth)
    weights = weights_of(next(iter(network.run().watches.values())))
    jump = relative_to_before(weights, np.zeros(2))[:, 0]
    np.testing.assert_allclose(jump[[0, 9, 10, 29]], [1, 1, 100, 100])


def test_update_of_weights_at_zero_is_relative_to_the_natural_scale():
    network = Network(depth=1, steps=5)
    network.set(schema.WEIGHT, "layers.0.weight", rms=0.0).set(schema.UPDATE, "layers.0.weight", rms=0.01)
    weights = weights_of(next(iter(network.run().watches.values())))
    np.testing.assert_allclose(
        relative_to_before(weights, weights.natural_rms)[:, 0], 0.01 * np.sqrt(3 * 64), rtol=1e-5
    )


def test_carried_away_begins_where_the_weights_left_their_scale():
    network = Network(depth=1, steps=40)
    growth = np.linspace(1, 14, 40)
    network.set(schema.WEIGHT, "layers.0.weight", rms=growth).set(schema.UPDATE, "layers.0.weight", rms=0.05 * growth)
    weights = weights_of(next(iter(network.run().watches.values())))
    values = np.stack([growth, np.ones(40)], axis=1).astype(np.float32)
    (episode,) = carried_away(weights, values, 5.0, 0.01)
    assert growth[episode.first - 1] <= LEAVING < growth[episode.first]
    assert carried_away(weights, values, 5.0, 0.1) == []


def _progress(curve: np.ndarray, **given: object) -> Progress:
    network = Network(steps=len(curve), **given).set(schema.LOSS, "", mean=curve, nan_count=np.isnan(curve))  # type: ignore[arg-type]
    run = network.run()
    found = progress(run, next(iter(run.watches.values())))
    assert found is not None
    return found


def test_progress_of_a_loss_that_falls():
    seen = _progress(np.linspace(2.3, 0.2, 100))
    assert seen.learned
    assert not seen.stuck
    assert not seen.diverged
    assert seen.naive == pytest.approx(math.log(10))


def test_progress_of_a_loss_that_stands():
    seen = _progress(np.full(100, 2.3))
    assert seen.stuck
    assert not seen.learned


def test_a_low_loss_that_stands_is_not_stuck():
    seen = _progress(np.full(100, 0.05))
    assert not seen.stuck
    assert seen.fine_tuning


def test_few_points_say_nothing():
    seen = _progress(np.linspace(2.3, 0.1, 20))
    assert not seen.learned
    assert not seen.stuck


def test_a_loss_that_falls_only_from_an_absurd_start_is_not_learned():
    assert not _progress(np.linspace(4000, 40, 100)).learned


@pytest.mark.parametrize(
    "curve", [np.linspace(2, 9, 100), np.r_[np.ones(60), np.full(40, np.nan)], np.full(50, np.nan)]
)
def test_diverged(curve: np.ndarray):
    seen = _progress(curve)
    assert seen.diverged
    assert not seen.learned


def test_no_progress_without_a_loss():
    run = Network().absent(schema.LOSS, "").run()
    history = next(iter(run.watches.values()))
    assert progress(run, history) is None
    history.layout.ClearField("criterion")
    assert math.isnan(loss_scale(run, history)[0])


def test_progress_from_a_scalar():
    network = Network().absent(schema.LOSS, "").loss(np.linspace(3, 1, 200))
    run = network.run()
    seen = progress(run, next(iter(run.watches.values())))
    assert seen is not None
    assert seen.learned


@pytest.mark.parametrize(
    ("first", "cost"), [(2.4, math.log(10)), (0.3, math.nan), (74.0, math.nan)], ids=["guess", "trained", "sum"]
)
def test_an_observed_function_of_class_indices_is_a_cross_entropy_where_it_begins_at_a_guess(first: float, cost: float):
    network = Network(classes=10).set(schema.LOSS, "", mean=first)
    network.layout.criterion.type = network.layout.criterion.reduction = ""
    found = constant_cost(next(iter(network.run().watches.values())))
    assert found == pytest.approx(cost, nan_ok=True)


@pytest.mark.parametrize(
    ("kind", "classes", "reduction", "cost"),
    [
        ("CrossEntropyLoss", 100, "mean", math.log(100)), ("NLLLoss", 2, "", math.log(2)),
        ("BCEWithLogitsLoss", 0, "mean", math.log(2)), ("MSELoss", 0, "mean", 6.25),
        ("CrossEntropyLoss", 10, "sum", 32 * math.log(10)), ("Custom", 10, "mean", math.nan), ("", 0, "", math.nan),
    ],
)  # fmt: skip
def test_cost_of_a_constant_answer(kind: str, classes: int, reduction: str, cost: float):
    network = Network().set(schema.TARGET, "", std=2.5)
    network.layout.criterion.type, network.layout.criterion.classes = kind, classes
    network.layout.criterion.reduction = reduction
    found = constant_cost(next(iter(network.run().watches.values())))
    assert found == pytest.approx(cost, nan_ok=True)


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (2.3, 4.1, ("2.3", "4.1")),
        (2.312, 2.345, ("2.31", "2.35")),
        (2.3021, 2.3024, ("2.3021", "2.3024")),
        (1.0, 1.0, ("1", "1")),
        (float("inf"), float("inf"), ("infinity", "infinity")),
    ],
)
def test_two_numbers_are_told_apart(one: float, other: float, told: tuple[str, str]) -> None:
    assert apart(one, other) == told
