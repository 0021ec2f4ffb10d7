"""Which tensor is named first, what is said to have fed it, and why."""

from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.base import Case, Hit, Ill, Options, Outcome, Passed
from tb_nnhealth.rules.numerics.non_finite import RULE
from tb_nnhealth.rules.synthetic import Network

INPUT, WEIGHT, GRADIENT, UPDATE = schema.INPUT, schema.WEIGHT, schema.GRADIENT, schema.UPDATE
ACTIVATION, ACTIVATION_GRADIENT = schema.MODULE_KINDS
PREDICTION, TARGET, LOSS = schema.PREDICTION, schema.TARGET, schema.LOSS


def asked(run: Run) -> Outcome:
    return RULE.check(Case(run, None, "", Options(RULE.options)))


def named(network: Network) -> Hit:
    outcome = asked(network.run())
    assert isinstance(outcome, Ill)
    (hit,) = outcome.hits
    return hit


def spoiled(*rows: tuple[str, str], since: int = 50, **counts: float) -> Network:
    network = Network()
    for kind, subject in rows:
        network.spoil(kind, subject, since, **counts)
    return network


@pytest.mark.parametrize(
    ("rows", "subject"),
    [
        ([(INPUT, ""), (ACTIVATION, "layers.0"), (LOSS, "")], "input"),
        ([(ACTIVATION, "layers.4"), (ACTIVATION, "layers.2"), (LOSS, "")], "layers.2"),
        ([(ACTIVATION, "layers.2"), (WEIGHT, "layers.2.weight"), (LOSS, "")], "layers.2.weight"),
        ([(ACTIVATION, "layers.2"), (WEIGHT, "layers.3.weight"), (LOSS, "")], "layers.2"),
        ([(PREDICTION, ""), (LOSS, "")], "prediction"),
        ([(TARGET, ""), (LOSS, "")], "target"),
        ([(LOSS, ""), (ACTIVATION_GRADIENT, "layers.5")], "loss"),
        ([(ACTIVATION_GRADIENT, "layers.1"), (ACTIVATION_GRADIENT, "layers.4")], "layers.4"),
        ([(GRADIENT, "layers.1.weight"), (GRADIENT, "layers.3.bias")], "layers.3.bias"),
        ([(UPDATE, "layers.1.weight")], "layers.1.weight"),
    ],
)
def test_the_first_in_order_of_computation_is_named(rows: list[tuple[str, str]], subject: str):
    hit = named(spoiled(*rows))
    assert (hit.subject, hit.first_step, hit.fired_step) == (subject, 50, 50)


def test_a_named_watch_prefixes_the_subject_and_what_fed_it():
    run = spoiled((ACTIVATION, "layers.3"), (LOSS, "")).run()
    run.watches = {"G": run.watches["model"]}
    outcome = asked(run)
    assert isinstance(outcome, Ill)
    assert outcome.hits[0].subject == "G.layers.3"
    assert outcome.hits[0].more["fed_by"] == "G.layers.2"


def test_a_weight_spoiled_between_two_records_says_so():
    hit = named(spoiled((WEIGHT, "layers.2.weight"), (LOSS, "")))
    assert "not measured" in hit.message
    assert "every=1" in " ".join(hit.advice)


def test_an_initial_weight_is_not_blamed_on_an_update():
    assert "before the first step" in named(spoiled((WEIGHT, "layers.2.weight"), since=0)).message


def test_float16_overflow_is_told_by_its_format():
    network = spoiled((ACTIVATION, "layers.3"), (LOSS, ""), nan=0, inf=12)
    for row in network.layout.rows:
        row.dtype = "float16"
    hit = named(network)
    assert "65,504" in hit.message
    assert hit.message.startswith("Infinity")


def test_values_that_grew_before_are_a_divergence():
    network = spoiled((ACTIVATION, "layers.3"), (LOSS, ""))
    network.scale(ACTIVATION, "layers.3", np.where(network.at > 40, 10.0 ** (network.at - 40.0).clip(0, 30), 1.0))
    hit = named(network)
    assert "diverged" in hit.message
    assert "learning rate" in hit.advice[0]


def test_a_probability_of_zero_under_a_logarithm():
    network = spoiled((LOSS, "")).set(PREDICTION, "", min=0.0, max=1.0)
    assert "logarithm" in named(network).message


def test_a_layer_that_takes_logarithms_of_zero():
    network = spoiled((ACTIVATION, "layers.3"), (LOSS, "")).set(ACTIVATION, "layers.2", min=0.0, max=4.0)
    network.layout.modules[3].type = "Logarithm"
    hit = named(network)
    assert "0 or below" in hit.message
    assert "fed by `layers.2` (0 to 4)" in hit.message


def test_a_loss_that_is_finite_blames_the_derivative():
    assert "derivative" in named(spoiled((ACTIVATION_GRADIENT, "layers.5"), (GRADIENT, "layers.5.weight"))).message


def test_gradients_that_are_finite_blame_the_optimizer():
    assert "optimizer" in named(spoiled((UPDATE, "layers.5.weight"))).message


def test_a_mask_of_every_step_is_not_named_when_something_else_breaks():
    network = spoiled((ACTIVATION, "layers.4"), (LOSS, "")).spoil(ACTIVATION, "layers.1", 0, nan=0, inf=99)
    assert named(network).subject == "layers.4"


def test_one_bad_step_of_many_is_a_warning_that_has_passed():
    network = Network().spoil(LOSS, "", 50, 51)
    hit = named(network)
    assert (hit.severity, hit.active, hit.count, hit.last_step) == ("warning", False, 1, 50)


def test_a_bad_last_step_is_critical_at_once():
    hit = named(Network().spoil(LOSS, "", 199))
    assert (hit.severity, hit.active, hit.first_step) == ("critical", True, 199)


def test_scalars_speak_only_where_no_record_does():
    run = spoiled((LOSS, "")).run()
    run.scalars["loss/train"] = Series([(i, i, np.nan if i > 50 else 1.0) for i in range(200)])
    outcome = asked(run)
    assert isinstance(outcome, Ill)
    assert [hit.subject for hit in outcome.hits] == ["loss"]


@pytest.mark.parametrize("tag", ["val/perplexity", "auc", "loss_scale", "train/value_loss"])
def test_other_scalars_may_be_nan(tag: str):
    run = Run("r", scalars={tag: Series([(i, i, np.nan) for i in range(20)]), "loss": Series([(0, 0, 1.0)])})
    assert isinstance(asked(run), Passed)


def test_a_validation_loss_counts_too():
    run = Run("r", scalars={"val_loss": Series([(i, i, np.inf if i > 5 else 1.0) for i in range(20)])})
    outcome = asked(run)
    assert isinstance(outcome, Ill)
    assert (outcome.hits[0].subject, outcome.hits[0].first_step) == ("val_loss", 6)
