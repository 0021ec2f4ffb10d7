"""A loop, and the names that different people give their scalars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.problems import Batches, Problem


class Names(NamedTuple):
    """Tags of the training loss, the validation loss, and the score on the validation set."""

    loss: str
    val_loss: str
    score: str


SLASHED = Names("train/loss", "val/loss", "val/score")
CAPITAL = Names("Loss/train", "Loss/test", "Score/test")
JOINED = Names("train_loss", "valid_loss", "valid_score")
TRAINER = Names("train/loss", "eval/loss", "eval/score")
LONG = Names("training_loss", "validation_loss", "validation_score")


def nothing(*_: Any) -> None:
    return None


def explained(outputs: Tensor, y: Tensor) -> float:
    """Share of the targets' variance that the outputs explain."""
    return 1 - ((outputs - y).square().mean() / y.var(unbiased=False)).item()


def right(outputs: Tensor, y: Tensor) -> float:
    return (outputs.argmax(1) == y).float().mean().item()


def decided(outputs: Tensor, y: Tensor) -> float:
    """Share of yes and no that logits tell rightly."""
    return ((outputs > 0) == (y > 0.5)).float().mean().item()


def fitting_score(data: Problem) -> Callable[[Tensor, Tensor], float]:
    if data.train_y.dtype == torch.int64:
        return right
    return decided if isinstance(data.criterion, nn.BCEWithLogitsLoss) else explained


def learn(
    writer: SummaryWriter,
    model: nn.Module,
    optimizer: Optimizer,
    data: Problem,
    *,
    steps: int = 250,
    batch: int = 32,
    batches: Batches | None = None,
    criterion: nn.Module | None = None,
    names: Names = SLASHED,
    score: Callable[[Tensor, Tensor], float] | None = None,
    prepare: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]] = lambda step, x, y: (x, y),
    before: Callable[[int], object] = nothing,
    after_backward: Callable[[int], object] = nothing,
    after: Callable[[int], object] = nothing,
    update: Callable[[int, Tensor], object] | None = None,
    validate_every: int = 25,
    enter: Callable[[], object] | None = None,
    leave: Callable[[], object] | None = None,
    watched: nn.Module | None = None,
    told: bool = True,
) -> None:
    """Trains, and logs the loss of every step and, every so often, loss and score on the validation set.

    ``update(step, loss)`` stands in for ``zero_grad``, ``backward`` and ``step``; ``enter`` and ``leave`` for
    ``model.eval`` and ``model.train``. Without ``told`` the writer is not given the criterion.
    """
    criterion = criterion or data.criterion
    score = score or fitting_score(data)
    source = batches or data.shuffled(batch)
    writer.watch(watched or model, optimizer, criterion=criterion if told else None)
    for step in range(steps):
        before(step)
        x, y = prepare(step, *next(source))
        loss = criterion(model(x), y)
        if update is None:
            optimizer.zero_grad()
            loss.backward()
            after_backward(step)
            optimizer.step()
        else:
            update(step, loss)
        after(step)
        writer.add_scalar(names.loss, loss.item(), step)
        if validate_every and step % validate_every == validate_every - 1:
            (enter or model.eval)()
            with torch.no_grad():
                outputs = model(data.val_x)
                writer.add_scalar(names.val_loss, criterion(outputs, data.val_y).item(), step)
                writer.add_scalar(names.score, score(outputs, data.val_y), step)
            (leave or model.train)()
