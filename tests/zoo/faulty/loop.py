"""The loop of the ill specimens; each of its arguments is a place where a user's loop can go wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.problems import Batches, Problem

Prepare = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]


def nothing(*_: Any) -> None:
    return None


def train(
    writer: SummaryWriter,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
    data: Problem,
    *,
    steps: int = 200,
    batch_size: int = 64,
    batches: Batches | None = None,
    criterion: nn.Module | None = None,
    prepare: Prepare = lambda step, x, y: (x, y),
    before_step: Callable[[int], None] = nothing,
    update: Callable[[int, Tensor], None] | None = None,
    validate_every: int = 20,
    before_validation: Callable[[], Any] | None = None,
    after_validation: Callable[[], Any] | None = None,
    validation: Callable[[Tensor], Tensor] = lambda x: x,
    watched: nn.Module | None = None,
    **watch: Any,
) -> None:
    """Trains ``model`` on ``data``; logs loss and, for classes, accuracy of training and validation.

    ``prepare`` and ``validation`` change what the model is given; ``update(step, loss)`` stands in for ``zero_grad``,
    ``backward`` and ``step``; ``before_validation`` and ``after_validation`` for ``model.eval`` and ``model.train``.
    """
    criterion = criterion or data.criterion
    if update is None:
        assert isinstance(optimizer, torch.optim.Optimizer)
        update = descend(optimizer)
    batches = batches or data.shuffled(batch_size)
    writer.watch(watched or model, optimizer, criterion=criterion, **watch)
    for step in range(steps):
        before_step(step)
        x, y = prepare(step, *next(batches))
        output = model(x)
        loss = criterion(output, y)
        update(step, loss)
        log(writer, "train", loss, output, y, step)
        if validate_every and step % validate_every == validate_every - 1:
            (before_validation or model.eval)()
            with torch.no_grad():
                output = model(validation(data.val_x))
                log(writer, "val", criterion(output, data.val_y), output, data.val_y, step)
            (after_validation or model.train)()


def descend(
    optimizer: torch.optim.Optimizer, after_backward: Callable[[int], Any] = nothing
) -> Callable[[int, Tensor], None]:
    """The usual update, with something done between ``backward`` and ``step``."""

    def update(step: int, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        after_backward(step)
        optimizer.step()

    return update


def descend_scaled(
    optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, before_step: Callable[[], Any] = nothing
) -> Callable[[int, Tensor], None]:
    """The update of mixed precision; ``before_step`` is done while the gradients are still scaled."""

    def update(step: int, loss: Tensor) -> None:
        optimizer.zero_grad()
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        before_step()
        scaler.step(optimizer)
        scaler.update()

    return update


def log(writer: SummaryWriter, part: str, loss: Tensor, output: Tensor, y: Tensor, step: int) -> None:
    writer.add_scalar(f"loss/{part}", loss.item(), step)
    if y.dtype == torch.int64:
        writer.add_scalar(f"accuracy/{part}", (output.argmax(1) == y).float().mean().item(), step)


def scheduled(
    writer: SummaryWriter, optimizer: torch.optim.Optimizer, rate: Callable[[int], float]
) -> Callable[[int], None]:
    """Sets the learning rate of each step and logs it; for ``before_step``."""

    def before_step(step: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        writer.add_scalar("lr", rate(step), step)

    return before_step


def at(step: int, act: Callable[[], Any]) -> Callable[[int], None]:
    """Does ``act`` once, before the given step; for ``before_step``."""

    def before_step(now: int) -> None:
        if now == step:
            act()

    return before_step
