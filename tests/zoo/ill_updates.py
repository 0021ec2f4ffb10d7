"""Ill for what happens around the step: gradients added up, weights put back or wrecked."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.habits import descend
from tests.zoo.faulty.loop import train
from tests.zoo.faulty.networks import Recurrent, mlp
from tests.zoo.faulty.problems import diabetes, pixels, rows
from tests.zoo.registry import ill

TOO_HIGH = ("learning-rate-too-high", "update-ratio-too-high")


@ill("cleared-once-an-epoch", "stale-gradients",
     source="Forum: zero_grad stands before the loop over the batches")  # fmt: skip
def zero_grad_before_the_inner_loop(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 48, 48, 10, activation=nn.Tanh)
    optimizer = SGD(model.parameters(), lr=0.3)

    def update(step: int, loss: Tensor) -> None:
        if not fault or step % 22 == 0:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    train(writer, model, optimizer, pixels(), update=update, steps=220)


@ill("clipped-after-the-step", "gradient-spike", "loss-spike", "exploding-gradients",
     source="Forum: clip_grad_norm_ after optimizer.step clips nothing")  # fmt: skip
def outliers_clipped_too_late(writer: SummaryWriter, fault: bool = True) -> None:
    data, model, criterion = diabetes(), mlp(10, 32, 32, 1, activation=nn.Tanh), nn.MSELoss()
    optimizer, batches = SGD(model.parameters(), lr=0.05), data.shuffled(32)
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(300):
        x, y = next(batches)
        y = torch.where(torch.rand(y.shape) < 0.003, 250.0, y)
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        if not fault:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        writer.add_scalar("loss/train", loss.item(), step)
        if step % 20 == 19:
            with torch.no_grad():
                writer.add_scalar("loss/val", criterion(model(data.val_x), data.val_y).item(), step)


@ill("averaged-weights-trained-on", "loss-spike", "loss-oscillating", onset=25,
     source="Forum: averaged weights are swapped in for validation and never swapped back")  # fmt: skip
def averages_left_in_after_validation(writer: SummaryWriter, fault: bool = True) -> None:
    model, data = mlp(64, 64, 64, 10), pixels()
    average = copy.deepcopy(model)
    optimizer, criterion, batches = SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss(), data.shuffled(64)
    writer.watch(model, optimizer, criterion=criterion)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return criterion(model(x), y)  # type: ignore[no-any-return]

    @torch.no_grad()
    def average_on(step: int) -> None:
        for kept, new in zip(average.parameters(), model.parameters(), strict=True):
            kept.lerp_(new, 0.002)

    def validation() -> dict[str, float]:
        used = model if fault else average
        if fault:
            model.load_state_dict(average.state_dict())
        return {"val/loss": criterion(used(data.val_x), data.val_y).item()}

    descend(writer, optimizer, loss_of, 300, tag="train/loss", after_step=average_on, examine=validation)


@ill("accumulated-without-dividing", *TOO_HIGH, "exploding-gradients",
     source="Forum: gradients accumulated over micro-batches whose losses are not divided")  # fmt: skip
def thirty_two_losses_added_up(writer: SummaryWriter, fault: bool = True) -> None:
    model, data = Recurrent(nn.RNN, 48), rows()
    optimizer, batches = SGD(model.parameters(), lr=0.2, momentum=0.9), data.shuffled(16)
    writer.watch(model, optimizer)
    for step in range(60):
        optimizer.zero_grad()
        total = 0.0
        for _ in range(32):
            x, y = next(batches)
            loss = F.cross_entropy(model(x), y)
            (loss if fault else loss / 32).backward()
            total += loss.item()
        optimizer.step()
        writer.add_scalar("train_loss", total / 32, step)


@ill("weights-left-by-the-range-test", *TOO_HIGH, "dead-units", "diverging-weights", "loss-diverging", onset=40,
     source="Smith (2017): the range test ends in divergence; forum: weights not restored after it")  # fmt: skip
def rate_finder_that_restores_nothing(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 64, 10)
    fresh = copy.deepcopy(model.state_dict())
    optimizer = SGD(model.parameters(), lr=1e-4)

    def find(step: int) -> None:
        optimizer.param_groups[0]["lr"] = 1e-4 * 1.27**step if step < 60 else 0.05
        if step == 60 and not fault:
            model.load_state_dict(fresh)

    train(writer, model, optimizer, pixels(), before_step=find, steps=260)
