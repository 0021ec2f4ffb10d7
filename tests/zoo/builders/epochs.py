"""A loop over epochs that logs the mean loss of each, and one on the validation set, as most tutorials do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.optim import Optimizer

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.problems import Problem

BATCH = 32


def nothing(loss: float) -> object:
    return None


def epochs(
    writer: SummaryWriter,
    model: nn.Module,
    optimizer: Optimizer,
    data: Problem,
    count: int,
    *,
    after_batch: Callable[[float], object] = nothing,
    after_epoch: Callable[[float], object] = nothing,
) -> float:
    """``after_epoch`` is given the validation loss, ``after_batch`` the batch's; returns the last validation loss."""
    torch.manual_seed(0)
    writer.watch(model, optimizer, criterion=data.criterion)
    held = float("nan")
    for epoch in range(count):
        losses = []
        for x, y in data.ordered(torch.randperm(len(data.train_y)), BATCH):
            optimizer.zero_grad()
            loss = data.criterion(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            after_batch(losses[-1])
        with torch.no_grad():
            held = data.criterion(model(data.val_x), data.val_y).item()
        writer.add_scalar("Loss/train", sum(losses) / len(losses), epoch)
        writer.add_scalar("Loss/val", held, epoch)
        after_epoch(held)
    return held
