"""What a constant answer costs, against PyTorch's own minimum over answers that are the same for every sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.record.observe_weights import class_weights, label_smoothing
from tb_nnhealth.rules.evidence.constant_answer import constant_cost
from tb_nnhealth.rules.synthetic import Network

LABELS = torch.tensor([0] * 12 + [1] * 5 + [2] * 3)
BITS = torch.tensor([0.0] * 17 + [1.0] * 3)


def least(criterion: nn.Module, targets: torch.Tensor, width: int) -> float:
    """The criterion's minimum over one answer for all samples, by L-BFGS."""
    answer = torch.zeros(width, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([answer], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = criterion(answer.expand(len(targets), width).squeeze(1), targets)
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(closure().detach())


def history_of(criterion: nn.Module, targets: torch.Tensor, classes: int, *, told: bool = True) -> History:
    network = Network(steps=4)
    layout = network.layout.criterion
    layout.type, layout.classes, layout.reduction = type(criterion).__name__, classes, criterion.reduction
    layout.class_weights.extend(class_weights(criterion, waits=False))
    layout.label_smoothing = label_smoothing(criterion)
    samples = float(len(targets))
    network.set(schema.TARGET, "", mean=float(targets.double().mean()))
    prediction = network.layout.rows[network._row(schema.PREDICTION, "")]
    prediction.shape[:] = [len(targets), classes] if classes > 2 else [len(targets), 1]
    if told:
        network.add_row(schema.LABELS, "samples", mean=samples)
        for index in range(classes):
            network.add_row(schema.CLASS, str(index), mean=float((targets == index).double().mean()))
    return next(iter(network.run().watches.values()))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 7.0], [0.0, 1.0, 1.0]])
def test_cross_entropy(weights: list[float] | None, smoothing: float, reduction: str) -> None:
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    criterion = nn.CrossEntropyLoss(weight, reduction=reduction, label_smoothing=smoothing)
    expected = least(criterion, LABELS, 3)
    assert constant_cost(history_of(criterion, LABELS, 3)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("told", [True, False], ids=["classes", "mean alone"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("positive", [None, 9.0])
def test_binary_cross_entropy(positive: float | None, reduction: str, told: bool) -> None:
    weight = None if positive is None else torch.tensor([positive], dtype=torch.float64)
    criterion = nn.BCEWithLogitsLoss(pos_weight=weight, reduction=reduction)
    expected = least(criterion, BITS.double(), 1)
    assert constant_cost(history_of(criterion, BITS, 2, told=told)) == pytest.approx(expected, rel=1e-5)


def test_a_criterion_without_reduction_and_weights_that_are_not_known() -> None:
    assert math.isnan(constant_cost(history_of(nn.CrossEntropyLoss(reduction="none"), LABELS, 3)))
    unknown = nn.BCELoss(weight=torch.rand(20))
    assert math.isnan(constant_cost(history_of(unknown, BITS, 2)))


@pytest.mark.parametrize("criterion", [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss()])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_targets_that_are_all_alike_tell_no_cost(criterion: nn.Module, value: float) -> None:
    network = Network(steps=4, criterion=type(criterion).__name__)
    rounded = torch.full((20,), value).double().std(correction=0)
    network.set(schema.TARGET, "", mean=value, std=float(rounded), rms=abs(value))
    assert math.isnan(constant_cost(next(iter(network.run().watches.values()))))


@pytest.mark.parametrize(("criterion", "classes"), [(nn.CrossEntropyLoss(), 3), (nn.BCEWithLogitsLoss(), 2)])
@pytest.mark.parametrize("label", [0, 1])
def test_labels_that_are_all_alike_tell_no_cost(criterion: nn.Module, classes: int, label: int) -> None:
    assert math.isnan(constant_cost(history_of(criterion, torch.full((20,), label), classes)))


def test_class_weights_that_match_no_shares_leave_the_guess() -> None:
    criterion = nn.CrossEntropyLoss(torch.rand(3))
    assert constant_cost(history_of(criterion, LABELS, 3, told=False)) == pytest.approx(math.log(3))


def test_classes_named_by_words_are_not_counted() -> None:
    network = Network(steps=4, classes=2).add_row(schema.CLASS, "cat", mean=0.9).add_row(schema.CLASS, "dog", mean=0.1)
    assert constant_cost(next(iter(network.run().watches.values()))) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        (nn.CrossEntropyLoss(), []),
        (nn.CrossEntropyLoss(torch.tensor([1.0, 3.0])), [1.0, 3.0]),
        (nn.CrossEntropyLoss(torch.rand(schema.CLASSES_TOLD + 1)), [np.nan]),
        (nn.BCEWithLogitsLoss(), []),
        (nn.BCEWithLogitsLoss(pos_weight=torch.tensor(4.0)), [1.0, 4.0]),
        (nn.BCEWithLogitsLoss(pos_weight=torch.tensor([4.0, 5.0])), [1.0, np.nan]),
        (nn.BCELoss(weight=torch.rand(8)), [1.0, np.nan]),
        (nn.MSELoss(), []),
    ],
)
def test_weights_that_are_recorded(criterion: nn.Module, expected: list[float]) -> None:
    assert class_weights(criterion, waits=True) == pytest.approx(expected, nan_ok=True)


def test_weights_on_a_device_are_not_waited_for_in_a_step() -> None:
    criterion = nn.CrossEntropyLoss(torch.ones(3, device="meta"))
    assert class_weights(criterion, waits=False) == pytest.approx([np.nan], nan_ok=True)
