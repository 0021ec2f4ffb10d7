"""Healthy trainings of the part set aside: a family has a model, data and habits, and each run changes some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

from tb_nnhealth import SummaryWriter
from tests.zoo import registry
from tests.zoo.held_out.habits import EPOCHS, Tags, Told, fit
from tests.zoo.held_out.shelf import Batch, Data

OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": optim.SGD,
    "momentum": lambda p, **o: optim.SGD(p, momentum=0.9, **o),
    "nesterov": lambda p, **o: optim.SGD(p, momentum=0.9, nesterov=True, **o),
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
    "nadam": optim.NAdam,
    "radam": optim.RAdam,
    "sparse": lambda p, weight_decay=0.0, **o: optim.SparseAdam(list(p), **o),
}


def _schedule(kind: str, optimizer: optim.Optimizer, steps: int) -> lr_scheduler.LRScheduler | None:
    """One that steps with every batch, over all ``steps``."""
    warm = max(1, steps // 10)
    lr = optimizer.param_groups[0]["lr"]
    made: dict[str, Callable[[], lr_scheduler.LRScheduler | None]] = {
        "constant": lambda: None,
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, steps),
        "restarts": lambda: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, max(1, steps // 3)),
        "one-cycle": lambda: lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps),
        "stairs": lambda: lr_scheduler.MultiStepLR(optimizer, [steps * 6 // 10, steps * 85 // 100], 0.1),
        "decay": lambda: lr_scheduler.ExponentialLR(optimizer, 0.2 ** (1 / steps)),
        "warm-up": lambda: lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / warm)),
        "warm-up-linear": lambda: lr_scheduler.LambdaLR(
            optimizer, lambda s: min((s + 1) / warm, max(0.0, (steps - s) / (steps - warm)))
        ),
    }
    return made[kind]()


@dataclass(frozen=True)
class Habit:
    """How a run is trained. ``good`` is the score that it must reach at the end."""

    good: float
    optimizer: str = "adam"
    lr: float = 2e-3
    weight_decay: float = 0.0
    epochs: int = 10
    batch: int = 32
    schedule: str = "constant"
    clip: float | None = None
    tags: Tags = EPOCHS
    told: Told = "criterion"
    criterion: Callable[[], nn.Module] | None = None
    accumulate: int = 1
    autocast: torch.dtype | None = None
    prepare: Callable[[Tensor, Tensor], Batch] = lambda x, y: (x, y)
    feed: Callable[[Data, int], Iterable[Batch]] | None = None
    """Batches of an epoch, of the data and the size of a batch."""
    groups: Callable[[nn.Module, float], list[dict[str, Any]]] | None = None
    """Parameter groups of the model and the rate."""
    log_rate: bool = False
    patience: int = 0
    """Stop after so many epochs without a better validation loss."""


class Stop(Exception):
    """The validation loss is no longer getting better."""


def train(writer: SummaryWriter, model: nn.Module, data: Data, habit: Habit) -> None:
    """Raises RuntimeError where the run ends below ``habit.good``: it would not be healthy."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    parameters = habit.groups(model, habit.lr) if habit.groups else trainable
    optimizer = OPTIMIZERS[habit.optimizer](parameters, lr=habit.lr, weight_decay=habit.weight_decay)
    steps = habit.epochs * -(-len(data.x) // (habit.batch or len(data.x)))
    schedule = _schedule(habit.schedule, optimizer, steps)
    best, waited = float("inf"), 0

    def after_step(step: int) -> None:
        if schedule is not None and step < steps - 1:
            schedule.step()
        if habit.log_rate:
            writer.add_scalar("lr", optimizer.param_groups[0]["lr"], step)

    def after_epoch(_: int, val: float) -> None:
        nonlocal best, waited
        best, waited = min(best, val), 0 if val < best else waited + 1
        if habit.patience and waited >= habit.patience:
            raise Stop

    with suppress(Stop):
        fit(
            writer, model, data, optimizer, epochs=habit.epochs, batch=habit.batch, tags=habit.tags,
            criterion=habit.criterion() if habit.criterion else None, told=habit.told, clip=habit.clip,
            accumulate=habit.accumulate, autocast=habit.autocast, prepare=habit.prepare,
            feed=(lambda _: habit.feed(data, habit.batch)) if habit.feed else None,
            after_step=after_step, after_epoch=after_epoch,
        )  # fmt: skip
    model.eval()
    with torch.no_grad():
        expect(data.score(model(data.vx), data.vy), habit.good)


def expect(score: float, good: float) -> None:
    """Raises RuntimeError below ``good``."""
    if not score >= good:
        raise RuntimeError(f"healthy training: expected a score of {good:g} or better, found {score:.4g}")


class Family:
    """Registers its runs as healthy specimens of one kind."""

    def __init__(self, kind: str, model: Callable[[], nn.Module], data: Callable[[], Data], **usual: Any) -> None:
        self.kind, self.model, self.data, self.habit = kind, model, data, Habit(**usual)

    def run(
        self,
        name: str,
        model: Callable[[], nn.Module] | None = None,
        data: Callable[[], Data] | None = None,
        **changes: Any,
    ) -> None:
        habit, make, load = replace(self.habit, **changes), model or self.model, data or self.data

        def trained(writer: SummaryWriter) -> None:
            train(writer, make(), load(), habit)

        registry.healthy(self.kind, f"{self.kind}-{name}", trained, held_out=True)


def alone(kind: str, name: str, trained: Callable[[SummaryWriter], None]) -> None:
    """A run with a loop of its own."""
    registry.healthy(kind, f"{kind}-{name}", trained, held_out=True)
