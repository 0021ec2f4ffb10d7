"""How people of the part set aside train: epochs with validation, in the words of different projects."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from statistics import fmean
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam, Optimizer

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.shelf import Batch, Data, r_squared


class Tags(NamedTuple):
    """Of the training loss, the validation loss and the validation score; and how often the first is logged."""

    loss: str
    val: str
    score: str
    each: Literal["step", "epoch"]


EPOCHS = Tags("Loss/train", "Loss/val", "Accuracy/val", "epoch")
STEPS = Tags("train_loss", "val_loss", "val_acc", "step")
TRAINER = Tags("train/loss", "eval/loss", "eval/accuracy", "step")
KERAS = Tags("epoch_loss", "epoch_val_loss", "epoch_val_score", "epoch")
CAMEL = Tags("training.loss", "validation.loss", "validation.score", "step")

Told = Literal["criterion", "observed", "nothing", "unwatched"]


def pause(*_: object) -> None:
    return None


def score_tag(tags: Tags, data: Data) -> str:
    """What explains variance is not called an accuracy."""
    return re.sub(r"(?i)accuracy|acc$|score", "r2", tags.score) if data.score is r_squared else tags.score


class Watched(NamedTuple):
    """What came of a training."""

    loss: float
    score: float
    steps: int


def fit(
    writer: SummaryWriter,
    model: nn.Module,
    data: Data,
    optimizer: Optimizer,
    *,
    epochs: int = 10,
    batch: int = 32,
    tags: Tags = EPOCHS,
    criterion: nn.Module | None = None,
    told: Told = "criterion",
    feed: Callable[[int], Iterable[Batch]] | None = None,
    prepare: Callable[[Tensor, Tensor], Batch] = lambda x, y: (x, y),
    update: Callable[[Tensor], object] | None = None,
    clip: float | None = None,
    accumulate: int = 1,
    autocast: torch.dtype | None = None,
    after_step: Callable[[int], object] = pause,
    after_epoch: Callable[[int, float], object] = pause,
    wake: Callable[[nn.Module], object] = nn.Module.train,
    settle: Callable[[nn.Module], object] = nn.Module.eval,
    judged_by: nn.Module | None = None,
    validate_in: int = 0,
) -> Watched:
    """Trains for some epochs, validates after each, and logs under ``tags``.

    ``update(loss)`` stands in for ``backward``, clipping, ``step`` and ``zero_grad``. ``told``: the criterion is given
    to ``watch``, batches to ``observe``, neither, or there is no ``watch`` at all. ``judged_by`` is the criterion of
    the validation loss where it is another; ``validate_in`` validates in batches of that size.
    """
    criterion = criterion or data.criterion()
    judged_by = judged_by or criterion
    if told != "unwatched":
        writer.watch(model, optimizer, criterion=criterion if told == "criterion" else None)
    step, val, score = 0, float("nan"), float("nan")
    for epoch in range(epochs):
        wake(model)
        losses = []
        for x, y in feed(epoch) if feed else data.epoch(batch):
            x, y = prepare(x, y)
            with torch.autocast("cpu", autocast) if autocast else nullcontext():
                outputs = model(x)
                loss = criterion(outputs, y)
            if told == "observed":
                writer.observe(inputs=x, targets=y, outputs=outputs, loss=loss)
            if update is not None:
                update(loss)
            else:
                (loss / accumulate).backward()
                if (step + 1) % accumulate == 0:
                    if clip is not None:
                        clip_grad_norm_(model.parameters(), clip)
                    optimizer.step()
                    optimizer.zero_grad()
            losses.append(loss.item())
            if tags.each == "step":
                writer.add_scalar(tags.loss, losses[-1], step)
            after_step(step)
            step += 1
        settle(model)
        with torch.no_grad():
            parts = [model(x) for x in data.vx.split(validate_in or len(data.vx))]
            outputs = torch.cat(parts)
            val, score = judged_by(outputs, data.vy).item(), data.score(outputs, data.vy)
        at = epoch if tags.each == "epoch" else step - 1
        if tags.each == "epoch":
            writer.add_scalar(tags.loss, fmean(losses), epoch)
        writer.add_scalar(tags.val, val, at)
        writer.add_scalar(score_tag(tags, data), score, at)
        after_epoch(epoch, val)
    return Watched(val, score, step)


def taught(model: nn.Module, data: Data, epochs: int = 4) -> nn.Module:
    """Trained before anything is watched."""
    optimizer = Adam(model.parameters(), 3e-3)
    for _ in range(epochs):
        for x, y in data.epoch(32):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model
