"""The loop that the trainings share; each of its arguments is something that a user's loop does."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from tb_nnhealth.demo.data import Digits, digits
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter


def nothing(step: int) -> None:
    return None


def fit(
    writer: SummaryWriter,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    data: Digits | None = None,
    criterion: nn.Module | None = None,
    steps: int = 200,
    batch_size: int = 64,
    flat: bool = False,
    validate_every: int = 0,
    train_mode_again: bool = True,
    before_step: Callable[[int], None] = nothing,
    after_backward: Callable[[int], None] = nothing,
    batch: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]] = lambda step, x, y: (x, y),
    watched: nn.Module | None = None,
    every: int = 2,
    **watch: Any,
) -> None:
    """Trains ``model`` on the digits (flattened where ``flat``) and logs loss/train, and loss/val where validated.

    Measured ``every`` so many steps, since a budget of time measures fewer steps on a busy machine.
    """
    data = data or digits()
    criterion = criterion or nn.CrossEntropyLoss()
    writer.watch(watched or model, optimizer, criterion=criterion, every=every, **watch)
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        before_step(step)
        chosen = torch.randint(len(data.train_x), (batch_size,), generator=generator)
        x, y = batch(step, data.train_x[chosen], data.train_y[chosen])
        optimizer.zero_grad()
        loss = criterion(model(x.flatten(1) if flat else x), y)
        loss.backward()
        after_backward(step)
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), step)
        if validate_every and step % validate_every == validate_every - 1:
            model.eval()
            with torch.no_grad():
                x, y = batch(step, data.val_x, data.val_y)
                value = criterion(model(x.flatten(1) if flat else x), y)
            writer.add_scalar("loss/val", value.item(), step)
            if train_mode_again:
                model.train()


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Fully connected layers of the given widths with ``activation`` between them, default initialization."""
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(fan_in, fan_out))
        if i < len(widths) - 2:
            layers.append(activation())
    return nn.Sequential(*layers)


def initialize(
    model: nn.Module, init: Callable[[Tensor], Any], *, only: Callable[[str], bool] = lambda name: True
) -> None:
    """Applies ``init`` to every weight matrix whose name ``only`` accepts."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and only(name):
            init(parameter)
