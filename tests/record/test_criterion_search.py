"""The loss module is found where the user names none, and no other module is taken for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.watch import Watch

OF_CRITERION = (schema.PREDICTION, schema.TARGET, schema.LOSS)
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def trained(
    loss: Loss, *, criterion: nn.Module | None = None, model: nn.Module | None = None, steps: int = 8, every: int = 1
) -> MemoryStream:
    torch.manual_seed(0)
    model = model or nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recorder = MemoryRecorder()
    Watch(recorder, model, optimizer, criterion=criterion, every=every)
    drawn = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x, y = torch.randn(10, 6, generator=drawn), torch.randint(0, 3, (10,), generator=drawn)
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    return recorder.stream


def rows(stream: MemoryStream) -> dict[tuple[int, str, str], list[Any]]:
    layout = stream.layouts[-1].rows
    return {
        (step, row.kind, row.subject): np.nan_to_num(table[i], nan=-1.0).tolist()
        for step, table in stream.records
        for i, row in enumerate(layout[: len(table)])
    }


def one_hot_error(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (z.softmax(1) - nn.functional.one_hot(y, 3)).square().mean()


class Own(nn.Module):
    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return one_hot_error(z, y)


class Composite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.CrossEntropyLoss()

    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.inner(z, y) + 0.1 * one_hot_error(z, y)
        return answer


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss(), Own(), Composite()], ids=lambda c: type(c).__name__)
def test_records_are_those_of_a_criterion_that_was_named(criterion: nn.Module, every: int) -> None:
    found, named = trained(criterion, every=every), trained(criterion, criterion=criterion, every=every)
    assert found.layouts[-1].criterion == named.layouts[-1].criterion
    assert found.layouts[-1].criterion.type == type(criterion).__name__
    assert rows(found) == rows(named)
    assert not found.errors


@pytest.mark.parametrize(
    "on_the_way",
    [
        lambda z: z.view(2, 5, 3).flatten(0, 1),
        lambda z: z.unsqueeze(-1).squeeze(-1),
        lambda z: z.double(),
        lambda z: z.log_softmax(1),
    ],
)
def test_views_and_functions_of_one_operand_may_lie_between(on_the_way: Callable[[torch.Tensor], torch.Tensor]) -> None:
    criterion = nn.CrossEntropyLoss()
    stream = trained(lambda z, y: criterion(on_the_way(z), y))
    assert stream.layouts[-1].criterion.type == "CrossEntropyLoss"
    assert all(stream.has(kind, "") for kind in OF_CRITERION)


def test_loss_that_is_reduced_by_hand() -> None:
    criterion = nn.CrossEntropyLoss(reduction="none")
    stream = trained(lambda z, y: criterion(z, y).mean())
    assert stream.layouts[-1].criterion.reduction == "none"


def test_loss_of_another_network_is_not_that_of_the_model() -> None:
    """As a discriminator's is not its generator's."""
    judge, criterion = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)), nn.CrossEntropyLoss()
    stream = trained(lambda z, y: criterion(judge(z), y))
    assert not any(stream.has(kind, "") for kind in OF_CRITERION)
    assert not stream.layouts[-1].HasField("criterion")


def test_two_losses_side_by_side_are_neither() -> None:
    first, second = nn.CrossEntropyLoss(), nn.MSELoss()
    stream = trained(lambda z, y: first(z, y) + second(z, torch.zeros_like(z)))
    assert not any(stream.has(kind, "") for kind in OF_CRITERION)
    assert not stream.layouts[-1].HasField("criterion")
    assert not stream.errors


def test_layer_after_the_model_is_no_criterion() -> None:
    after = nn.LogSoftmax(1)
    stream = trained(lambda z, y: after(z).square().mean())
    assert not stream.has(schema.LOSS, "")


def test_validation_is_not_searched() -> None:
    criterion = nn.CrossEntropyLoss()
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    def loss(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        model.eval()
        criterion(model(torch.zeros(2, 6)), y[:2])
        model.train()
        return one_hot_error(z, y)

    stream = trained(loss, model=model)
    assert not stream.layouts[-1].HasField("criterion")


def test_search_ends_and_leaves_nothing_behind() -> None:
    """A loss module that first comes late is not seen: the search costs nothing for a whole training."""
    criterion, calls = nn.CrossEntropyLoss(), iter(range(100))
    stream = trained(lambda z, y: criterion(z, y) if next(calls) >= 5 else one_hot_error(z, y), steps=10)
    assert not stream.layouts[-1].HasField("criterion")
    assert not criterion._forward_hooks


def test_found_criterion_is_not_held_and_bears_no_hook_between_measured_steps() -> None:
    criterion = nn.CrossEntropyLoss()
    stream = trained(criterion, steps=9, every=4)  # the ninth opens no window of its own
    assert stream.layouts[-1].criterion.type == "CrossEntropyLoss"
    assert not criterion._forward_hooks
