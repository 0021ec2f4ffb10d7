from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tb_nnhealth import derive, schema
from tb_nnhealth.history import Run, Series
from tb_nnhealth.plugin.arrays import decode
from tb_nnhealth.plugin.evidence import evidence, why_none
from tb_nnhealth.report.build import build
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.registry import BY_ID
from tb_nnhealth.rules.synthetic import Network


def finding(**fields: Any) -> dict[str, Any]:
    judged = {
        "statistic": "update_ratio", "unit": "per step", "value": 1.0, "limit": 0.1, "direction": "above",
        "healthy": None, **fields.pop("evidence", {}),
    }  # fmt: skip
    return {
        "rule": "update-ratio-too-high", "subject": "layers.2.weight", "statistic_id": "update-ratio",
        "layer": "layers.2", "layers": ["layers.2"], "evidence": judged, **fields,
    }  # fmt: skip


@pytest.fixture
def run() -> Run:
    spike = np.where(np.arange(200) == 123, 500.0, 1.0)
    return Network(steps=200).scale(schema.UPDATE, "layers.2.weight", spike).run()


def test_the_findings_own_series_shows_the_record_beyond_the_limit(run: Run) -> None:
    found = evidence(run, finding(), limit=10)
    assert found is not None
    values = decode(found["values_f32"])
    assert found["steps"][6] == 123
    assert values[6] == decode(found["high_f32"])[6] > 0.1
    assert decode(found["low_f32"])[6] < 0.01
    assert (found["limit"], found["direction"], found["scale"]) == (0.1, "above", "log")
    assert found["healthy"] == list(derive.UPDATE_RATIO_HEALTHY)
    assert found["steps"] == sorted(found["steps"])


def test_the_other_layers_stand_beside_it(run: Run) -> None:
    found = evidence(run, finding(), limit=10)
    assert found is not None
    assert found["others"].pop("title") == "other layers"
    others = {name: decode(text) for name, text in found["others"].items()}
    assert (others["low_f32"] <= others["median_f32"]).all()
    assert (others["median_f32"] <= others["high_f32"]).all()
    assert others["high_f32"].max() < 0.01, "the finding's own layer is not among the others"


def test_a_limit_below_shows_the_least_record() -> None:
    dip = np.where(np.arange(100) == 55, 1e-4, 1.0)
    run = Network(steps=100).scale(schema.ACTIVATION, "layers.1", dip).run()
    asked = finding(
        subject="layers.1", layer="layers.1", layers=["layers.1"], statistic_id="activation-std",
        evidence={"statistic": "activation_std", "unit": "1", "direction": "below", "limit": 0.01, "healthy": [0.2, 5]},
    )  # fmt: skip
    found = evidence(run, asked, limit=10)
    assert found is not None
    assert found["steps"][5] == 55
    assert (found["limit"], found["healthy"]) == (0.01, [0.2, 5])


def test_a_bias_has_its_own_series(run: Run) -> None:
    found = evidence(run, finding(subject="layers.2.bias"))
    assert found is not None
    assert decode(found["high_f32"]).max() < 0.01


def test_a_group_of_layers_has_the_series_of_its_first(run: Run) -> None:
    found = evidence(run, finding(subject="layers", layers=[f"layers.{i}" for i in range(6)], layer="layers.2"))
    assert found is not None
    assert decode(found["high_f32"]).max() > 0.1
    assert found["others"] is None


def test_a_run_wide_finding_shows_the_worst_layer(run: Run) -> None:
    found = evidence(run, finding(subject="", layer=None, layers=[f"layers.{i}" for i in range(6)]))
    assert found is not None
    assert decode(found["high_f32"]).max() > 0.1


def test_a_second_watch_is_told_by_its_prefix() -> None:
    calm, ill = Network(steps=30), Network(steps=30).scale(schema.UPDATE, "layers.2.weight", 500.0)
    run = Run("gan", watches={"model": calm.run().watches["model"], "critic": ill.run().watches["model"]})
    found = evidence(
        run, finding(subject="critic.layers.2.weight", layer="critic.layers.2", layers=["critic.layers.2"])
    )
    assert found is not None
    assert decode(found["values_f32"]).min() > 0.1


def test_a_finding_about_a_scalar_shows_it() -> None:
    run = Run("plain", scalars={"loss/train": Series([(i, 0.0, float(i)) for i in range(50)])})
    asked = finding(
        subject="loss/train", statistic_id=None, layer=None, layers=[],
        evidence={"statistic": "loss/train", "limit": 30.0, "unit": "1"},
    )  # fmt: skip
    found = evidence(run, asked, limit=5)
    assert found is not None
    assert found["title"] == "loss/train"
    assert found["steps"] == [9, 19, 29, 39, 49]
    assert (found["limit"], found["others"]) == (30.0, None)


def test_a_limit_on_another_number_is_not_drawn_on_the_scalar() -> None:
    run = Run("plain", scalars={"loss/train": Series([(i, 0.0, float(i)) for i in range(50)])})
    asked = finding(subject="loss/train", statistic_id=None, layer=None, layers=[], evidence={"statistic": "slope"})
    found = evidence(run, asked)
    assert found is not None
    assert (found["limit"], found["healthy"], found["direction"]) == (None, None, None)


def test_a_limit_on_something_derived_is_not_drawn_on_the_statistic(run: Run) -> None:
    asked = finding(rule="vanishing-gradients", statistic_id="gradient-norm", evidence={"unit": "1"})
    found = evidence(run, asked)
    assert found is not None
    assert (found["limit"], found["direction"]) == (None, None)
    assert found["healthy"][0] < decode(found["values_f32"]).min() < found["healthy"][1]


def test_a_loss_is_judged_in_its_own_unit() -> None:
    run = Run("plain", scalars={"val/loss": Series([(i, 0.0, float(i)) for i in range(50)])})
    asked = finding(
        subject="val/loss", statistic_id=None, layer=None, layers=[],
        evidence={"statistic": "validation loss", "unit": "unit of the loss", "limit": 20.0},
    )  # fmt: skip
    found = evidence(run, asked)
    assert found is not None
    assert (found["limit"], found["direction"]) == (20.0, "above")


def test_the_criterions_loss_stands_in_for_a_scalar() -> None:
    asked = finding(subject="loss", statistic_id=None, layer=None, layers=[], evidence={"statistic": "training loss"})
    found = evidence(Network(steps=50).run(), asked)
    assert found is not None
    assert len(found["steps"]) == 50


def told_by(rule_id: str, ordinal: int = 0, title: str = "") -> tuple[Run, dict[str, Any]]:
    """An ill example of a rule, by its place or the beginning of its title, and the rule's first finding in it."""
    rule = BY_ID[rule_id]
    run = [example for example in rule.examples if example.ill and example.title.startswith(title)][ordinal].build()
    return run, build(run, judge(run, rules=[rule]))["findings"][0]


SHOWN_BY = {"softmax-before-cross-entropy": "softmax", "wrong-mode": "train() forgotten"}


@pytest.mark.parametrize(
    ("rule_id", "title"),
    [
        ("unnormalized-input", "RMS of the input"),
        ("softmax-before-cross-entropy", "Predictions that are probabilities"),
        ("wrong-mode", "Modules in train mode"),
        ("symmetric-units", "Units that are copies"),
        ("initial-loss-off", "loss"),
    ],
)
def test_what_no_layer_has_is_shown_with_the_findings_limit(rule_id: str, title: str) -> None:
    run, told = told_by(rule_id, title=SHOWN_BY.get(rule_id, ""))
    found = evidence(run, told)
    assert found is not None
    assert (found["title"], found["limit"]) == (title, told["evidence"]["limit"])
    beyond = decode(found["values_f32"]) - found["limit"]
    assert (beyond if found["direction"] == "above" else -beyond).max() > 0, "the record that fired the rule is shown"


def test_forwards_in_train_mode_stand_beside_those_in_evaluation_mode() -> None:
    run, told = next(
        (run, told)
        for run, told in (told_by("wrong-mode", i) for i in range(6))
        if told["evidence"]["statistic"].startswith("forwards")
    )
    found = evidence(run, told)
    assert found is not None
    assert found["others"]["title"] == "in evaluation mode"


def test_a_sigmoid_before_its_loss_shows_the_range_of_the_predictions() -> None:
    found = evidence(*told_by("softmax-before-cross-entropy", title="sigmoid"))
    assert found is not None
    assert (decode(found["low_f32"]) < decode(found["values_f32"])).all()
    assert decode(found["high_f32"]).max() <= 1
    assert found["limit"] is None


def test_a_gradient_that_never_came_is_drawn_at_zero_beside_the_others() -> None:
    found = evidence(*told_by("no-gradient"))
    assert found is not None
    assert not decode(found["values_f32"]).any()
    assert decode(found["others"]["median_f32"]).min() > 0


def test_the_training_loss_stands_beside_the_validations() -> None:
    found = evidence(*told_by("overfitting"))
    assert found is not None
    assert found["others"]["title"] == "training loss"
    train = decode(found["others"]["median_f32"])
    assert train[-1] < train[0] / 10


def test_a_validation_counted_in_epochs_stands_alone() -> None:
    found = evidence(*told_by("overfitting", 1))
    assert found is not None
    assert found["others"] is None


def test_a_limit_on_a_multiple_is_told_in_the_unit_of_the_series() -> None:
    run, told = told_by("exploding-activations", 2)
    found = evidence(run, told)
    assert found is not None
    judged = told["evidence"]
    steps = np.array(found["steps"])
    held = (steps >= told["first_step"]) & (steps <= told["last_step"])
    reached = decode(found["values_f32"])[held].max()
    assert found["limit"] != judged["limit"]
    assert reached / found["limit"] == pytest.approx(judged["value"] / judged["limit"])


def test_a_first_loss_has_the_criterions_series_where_a_scalar_is_the_training_loss() -> None:
    run, told = told_by("initial-loss-off")
    run.scalars["loss/train"] = Series([(i, 0.0, 1.0) for i in range(200)])
    found = evidence(run, told)
    assert found is not None
    assert decode(found["values_f32"])[0] > found["limit"]


def test_a_finding_without_a_series_says_why() -> None:
    run, told = told_by("optimizer-misses-parameters")
    assert evidence(run, told) is None
    assert "the parameters that the optimizer was given" in why_none(told)
    assert "No record" in why_none(finding())


def test_a_finding_about_nothing_recorded_has_no_series(run: Run) -> None:
    assert evidence(run, finding(subject="", statistic_id=None, layer=None, layers=[])) is None
    assert evidence(Run("plain"), finding()) is None
