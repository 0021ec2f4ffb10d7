"""Ill for what the optimizer or its schedule is set to, in logs that have one loss an epoch."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import SGD, AdamW, RMSprop, lr_scheduler

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.branching import Sequence
from tests.zoo.builders.epochs import epochs
from tests.zoo.builders.material import friedman, steps_of_a_walk
from tests.zoo.faulty.networks import mlp
from tests.zoo.faulty.problems import pixels
from tests.zoo.registry import ill

TOO_LOW = ("learning-rate-too-low", "update-ratio-too-low")
HEAVY = ("learning-rate-too-high", "update-ratio-too-high", "loss-oscillating", "loss-diverging")


@ill("momentum-too-high", *HEAVY,
     source="Goh, Why Momentum Really Works (2017): effective rate lr / (1 - momentum)")  # fmt: skip
def nesterov_of_0_998_told_by_epochs(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(10, 48, 48, 1, activation=nn.Tanh)
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.998 if fault else 0.8, nesterov=True)
    epochs(writer, model, optimizer, friedman(), 16)


@ill(
    "learning-rate-too-low",
    *TOO_LOW,
    source="Kingma and Ba (ICLR 2015): epsilon 1e-8; forum: eps=1 copied from Inception",
)
def epsilon_above_every_gradient(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 48, 48, 10)
    epochs(writer, model, RMSprop(model.parameters(), lr=1e-3, eps=1.0 if fault else 1e-8), pixels(), 8)


@ill("scheduler-steps-per-batch", "early-lr-decay", *TOO_LOW, source="Forum: scheduler.step() inside the batch loop")
def decay_of_each_batch_told_by_epochs(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 10)
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.5)
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.9)
    after = {"after_batch" if fault else "after_epoch": lambda loss: schedule.step()}
    epochs(writer, model, optimizer, pixels(), 10, **after)


@ill("scheduler-steps-per-batch", "early-lr-decay", *TOO_LOW, source="Forum: milestones of epochs reached in batches")
def milestones_of_batches_told_by_epochs(writer: SummaryWriter, fault: bool = True) -> None:
    """Two drops by ten within the first epoch; the loss goes on falling, a hundred times as slowly."""
    model = mlp(64, 64, 10)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = lr_scheduler.MultiStepLR(optimizer, [6, 8])
    after = {"after_batch" if fault else "after_epoch": lambda loss: schedule.step()}
    epochs(writer, model, optimizer, pixels(), 10, **after)


@ill("learning-rate-too-low", *TOO_LOW, source="Forum: Adam's rate given to plain SGD, under a cosine schedule")
def cosine_of_a_rate_too_low_told_by_epochs(writer: SummaryWriter, fault: bool = True) -> None:
    """The rate falls as it should, from where no step was ever large enough."""
    model = mlp(64, 64, 64, 10)
    optimizer = SGD(model.parameters(), lr=1e-4 if fault else 0.1, momentum=0.9)
    schedule = lr_scheduler.CosineAnnealingLR(optimizer, 12)
    epochs(writer, model, optimizer, pixels(), 12, after_epoch=lambda loss: schedule.step())


@ill("scheduler-steps-per-batch", "early-lr-decay", *TOO_LOW,
     source="PyTorch, ReduceLROnPlateau: mode is one of min, max; forum: mode='max' for a loss")  # fmt: skip
def plateau_that_waits_for_the_loss_to_rise(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    optimizer = SGD(model.parameters(), lr=0.03)
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, mode="max" if fault else "min", patience=0)
    epochs(writer, model, optimizer, pixels(), 16, after_epoch=schedule.step)


@ill("learning-rate-too-low", *TOO_LOW, source="DeepCrime (ISSTA 2021), HLR: change learning rate")
def adamw_at_a_hundredth_told_by_epochs(writer: SummaryWriter, fault: bool = True) -> None:
    model = Sequence(nn.GRU, 2)
    optimizer = AdamW(model.parameters(), lr=3e-5 if fault else 5e-3)
    epochs(writer, model, optimizer, steps_of_a_walk(12), 10)


@ill("l1-penalty-too-strong", "over-regularized", source="DeepCrime (ISSTA 2021), RAW: weights regularisation, l1")
def lasso_on_digits(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = pixels(), mlp(64, 48, 48, 10)
    optimizer, batches = torch.optim.Adam(model.parameters(), lr=1e-3), data.shuffled(32)
    writer.watch(model, optimizer)
    for step in range(300):
        x, y = next(batches)
        optimizer.zero_grad()
        penalty = sum(p.abs().sum() for p in model.parameters() if p.dim() > 1)
        loss = nn.functional.cross_entropy(model(x), y) + (0.05 if fault else 1e-6) * penalty
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), step)
