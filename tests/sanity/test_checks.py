"""Each check fails for its illness, and none for a healthy model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sanity.specimens import CLASSES, FEATURES, HEALTHY, Case, Language, blobs, ill, mlp, sentences, sequence_loss
from torch import nn

from tb_nnhealth import preflight
from tb_nnhealth.checks import PreflightReport
from tb_nnhealth.sanity.registry import CHECKS

NEVER_FAIL = ("random-input", "shuffled-labels")
IDS = {
    "chance-loss",
    "overfit-one-batch",
    "input-independent-baseline",
    "random-input",
    "shuffled-labels",
    "batch-leak",
    "causality",
    "regularization-raises-loss",
    "gradient-check",
    "finite-outputs",
    "input-normalization",
    "parameters-reached",
}
NEEDS = {
    "input-independent-baseline": ["overfit-one-batch"],
    "regularization-raises-loss": ["overfit-one-batch"],
}


def checked(case: Case, *ids: str, **options: Any) -> PreflightReport:
    wanted = [*(needed for i in ids for needed in NEEDS.get(i, ())), *ids] or None
    return preflight(
        case.make_model, case.criterion, case.batch, **{"seconds": 120.0, "checks": wanted, **case.options, **options}
    )


def test_the_ids_are_those_of_the_interface() -> None:
    assert {check.id for check in CHECKS} == IDS
    assert len(CHECKS) == len(IDS)


@pytest.mark.parametrize("name", sorted(IDS))
def test_each_check_fails_for_its_illness(name: str) -> None:
    result = checked(ill(name), name)[name]
    assert result.status == ("warn" if name in NEVER_FAIL else "fail"), result
    assert result.message
    assert result.advice
    assert result.evidence


@pytest.mark.parametrize("name", HEALTHY)
def test_no_check_fails_or_warns_for_a_healthy_model(name: str) -> None:
    report = checked(HEALTHY[name])
    assert [check.id for check in report.checks] == [check.id for check in CHECKS]
    assert [check for check in report.checks if check.status not in ("pass", "skip")] == []
    assert report.ok
    for telling in ("finite-outputs", "parameters-reached", "batch-leak", "overfit-one-batch"):
        assert report[telling].status == "pass", report[telling]


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_causal_models_pass_causality(name: str) -> None:
    assert checked(HEALTHY[name], "causality")["causality"].status == "pass"


def test_the_first_position_that_sees_the_future_is_named() -> None:
    result = checked(ill("causality"), "causality")["causality"]
    assert result.evidence["first_position"] == 0


def test_the_module_that_gives_nan_is_named_and_the_rest_skipped() -> None:
    report = checked(ill("finite-outputs"))
    assert "`last`" in report["finite-outputs"].message
    assert {check.status for check in report.checks[1:]} == {"skip"}
    assert not report.ok


def test_the_unreached_parameters_are_named() -> None:
    result = checked(ill("parameters-reached"), "parameters-reached")["parameters-reached"]
    assert result.evidence["without_gradient"] == ["forgotten.weight", "forgotten.bias"]


def test_the_function_with_the_wrong_backward_is_named() -> None:
    result = checked(ill("gradient-check"), "gradient-check")["gradient-check"]
    assert result.evidence["functions"] == ["DoubledGradient"]


def test_a_softmax_before_cross_entropy_is_told() -> None:
    result = checked(ill("overfit-one-batch"), "overfit-one-batch")["overfit-one-batch"]
    assert "softmax" in result.advice[0]


def test_a_broadcast_of_predictions_and_targets_is_told() -> None:
    x, y = blobs()
    result = checked(Case(lambda: mlp(out=1), nn.MSELoss(), (x, y.float()), {}), "chance-loss")["chance-loss"]
    assert result.status == "fail"
    assert result.evidence["broadcast_shape"] == [64, 64]
    squeezed = Case(lambda: mlp(out=1), lambda o, t: nn.functional.mse_loss(o[:, 0], t), (x, y.float()), {})
    assert checked(squeezed, "chance-loss")["chance-loss"].status == "pass"


def test_samples_with_the_same_input_and_other_labels_are_allowed_for() -> None:
    x, y = blobs(8)
    twice = torch.cat([x, x]), torch.cat([y, (y + 1) % CLASSES])
    result = checked(Case(mlp, nn.CrossEntropyLoss(), twice, {}), "overfit-one-batch")["overfit-one-batch"]
    assert result.status == "pass"
    assert result.evidence["least_possible"] == pytest.approx(0.693, abs=0.01)


def test_a_linear_model_that_cannot_tell_many_samples_apart_passes_on_two() -> None:
    x = torch.tensor([[0.0, 0.0], [1, 1], [0, 1], [1, 0]]).repeat(4, 1) * 2 - 1
    y = torch.tensor([0, 0, 1, 1]).repeat(4)
    case = Case(lambda: nn.Linear(2, 2), nn.CrossEntropyLoss(), (x, y), {})
    result = checked(case, "overfit-one-batch")["overfit-one-batch"]
    assert result.status == "pass"
    assert result.evidence["samples"] == 2


def test_a_learning_rate_that_diverges_is_a_warning() -> None:
    x, y = blobs()
    case = Case(mlp, nn.CrossEntropyLoss(), (x, y), {"make_optimizer": lambda p: torch.optim.SGD(p, 300.0)})
    assert checked(case, "overfit-one-batch")["overfit-one-batch"].status == "warn"


def test_attention_over_the_batch_is_found_where_the_batch_dim_is_given() -> None:
    case = Case(lambda: Language(causal=False, batch_first=False), sequence_loss, sentences(), {})
    assert checked(case, "batch-leak")["batch-leak"].status == "skip"
    assert checked(case, "batch-leak", batch_dim=0)["batch-leak"].status == "fail"


class TimeMajor(nn.Module):
    """A recurrent model that takes (time, batch, features)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 8), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0])


def test_time_before_the_batch_is_no_leak() -> None:
    x = torch.randn(6, 9, 3, generator=torch.Generator().manual_seed(0))
    case = Case(TimeMajor, nn.MSELoss(), (x, x.sum(-1, keepdim=True)), {})
    assert checked(case, "batch-leak")["batch-leak"].status == "skip"
    assert checked(case, "batch-leak", batch_dim=1)["batch-leak"].status == "pass"
    assert checked(case, "causality", batch_dim=1, causal=True)["causality"].status == "pass"


def test_a_model_that_divides_by_255_itself_is_normalized() -> None:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = mlp()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x.float() / 127.5 - 1)

    x = 255 * torch.rand(64, FEATURES, generator=torch.Generator().manual_seed(0))
    for given in (x, x.to(torch.uint8)):
        case = Case(Inside, nn.CrossEntropyLoss(), (given, blobs()[1]), {})
        assert checked(case, "input-normalization")["input-normalization"].status == "pass"


def test_pixels_as_integers_that_nobody_divides_are_seen() -> None:
    class Raw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = mlp()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x.float())

    x = torch.randint(0, 256, (64, FEATURES), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    case = Case(Raw, nn.CrossEntropyLoss(), (x, blobs()[1]), {})
    assert checked(case, "input-normalization")["input-normalization"].status == "fail"


def test_a_straight_through_estimator_passes() -> None:
    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(FEATURES, 16), nn.Linear(16, CLASSES)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.tanh(self.first(x))
            return self.last(h + (torch.sign(h) - h).detach())

    result = checked(Case(Rounded, nn.CrossEntropyLoss(), blobs(), {}), "gradient-check")["gradient-check"]
    assert result.status == "pass"


def test_real_relations_pass_where_the_batch_is_large_enough() -> None:
    report = checked(Case(mlp, nn.CrossEntropyLoss(), blobs(256), {}), "random-input", "shuffled-labels")
    assert {check.status for check in report.checks} == {"pass"}


def test_num_classes_against_the_width_of_the_output() -> None:
    case = Case(lambda: mlp(out=100), nn.CrossEntropyLoss(), blobs(), {"num_classes": CLASSES})
    result = checked(case, "chance-loss")["chance-loss"]
    assert result.status == "warn"
    assert (result.evidence["classes"], result.evidence["num_classes"]) == (100, CLASSES)


def test_a_wide_vocabulary_in_the_last_axis_is_known() -> None:
    case = Case(Language, sequence_loss, sentences(), {})
    assert checked(case, "chance-loss")["chance-loss"].evidence["classes"] == 11
