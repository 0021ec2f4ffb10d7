"""The training loops, as anyone writes them; the one line of ours is ``writer.watch``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter

from .data import Characters, Digits

Progress = Callable[[int], None]


def classify(
    writer: SummaryWriter,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Digits,
    *,
    steps: int,
    progress: Progress,
    batch_size: int = 64,
    before_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Trains ``model`` on digits with cross-entropy, and validates it every 20 steps."""
    criterion = nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion, every=1)  # so short a training is worth every step
    batches = _batches(data.train_x, data.train_y, batch_size)
    for step in range(steps):
        before_step(step)
        x, y = next(batches)
        optimizer.zero_grad()
        logits = model(x)
        loss = criterion(logits, y)
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), step)
        writer.add_scalar("accuracy/train", (logits.argmax(1) == y).float().mean().item(), step)
        if step % 20 == 19:
            model.eval()
            with torch.no_grad():
                logits = model(data.val_x)
                writer.add_scalar("loss/val", nn.functional.cross_entropy(logits, data.val_y).item(), step)
                writer.add_scalar("accuracy/val", (logits.argmax(1) == data.val_y).float().mean().item(), step)
            model.train()
        progress(step + 1)


def predict_characters(
    writer: SummaryWriter,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    text: Characters,
    *,
    steps: int,
    progress: Progress,
    learning_rate: Callable[[int], float],
    batch_size: int = 16,
    length: int = 32,
) -> None:
    """Trains ``model`` to predict the next character under a schedule of learning rates."""
    criterion = nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion, every=1)  # so short a training is worth every step
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        x, y = text.batch(batch_size, length, generator)
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), step)
        writer.add_scalar("lr", learning_rate(step), step)
        if step % 50 == 49:
            model.eval()
            with torch.no_grad():
                x, y = text.batch(64, length, generator, val=True)
                writer.add_scalar("loss/val", nn.functional.cross_entropy(model(x), y).item(), step)
            model.train()
        progress(step + 1)


def warm_up(peak: float, steps: int) -> Callable[[int], float]:
    """A learning rate that rises linearly to ``peak`` over ``steps``, and stays."""
    return lambda step: peak * min(1.0, (step + 1) / steps)


def _batches(x: Tensor, y: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    while True:
        order = torch.randperm(len(x), generator=generator)
        for start in range(0, len(x) - size + 1, size):
            chosen = order[start : start + size]
            yield x[chosen], y[chosen]
