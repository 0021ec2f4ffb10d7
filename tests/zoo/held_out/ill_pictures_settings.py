"""Set aside: ill for the settings of an optimizer, of its schedule, of its penalties."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import ExponentialLR, MultiStepLR, OneCycleLR, ReduceLROnPlateau

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.pictures_data import accuracy, customers, digits, friedman, scaled, shapes, standardized, waves
from tests.zoo.registry import ill


class Shortcut(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


def little_resnet(channels: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU(), Shortcut(12), nn.MaxPool2d(2),
        Shortcut(12), nn.Flatten(), nn.LazyLinear(classes),
    )  # fmt: skip


@ill(
    "sgd-at-two",
    "learning-rate-too-high",
    "update-ratio-too-high",
    "loss-diverging",
    "exploding-gradients",
    held_out=True,
    source="DeepCrime HLR: change learning rate; CS231n: loss curves",
)
def rate_of_two_for_a_table(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(customers())
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer, criterion = SGD(model.parameters(), lr=2.0 if fault else 0.1, momentum=0.9), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(8):
        for x, y in data.loader(40):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
            step += 1
        writer.add_scalar("val_accuracy", accuracy(model, data.val_x, data.val_y), step)


@ill(
    "adam-at-a-twentieth",
    "learning-rate-too-high",
    "update-ratio-too-high",
    "dead-units",
    held_out=True,
    source="Forum: Adam with lr=0.05, the network answers the same for all",
)
def adam_at_a_twentieth_for_pictures(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 5),
    )  # fmt: skip
    optimizer = Adam(model.parameters(), lr=0.05 if fault else 0.002)
    writer.watch(model, optimizer)
    for epoch in range(9):
        running = 0.0
        for x, y in data.loader(32):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running += loss.item()
        writer.add_scalar("Loss/train", running / 37, epoch)
        writer.add_scalar("Accuracy/test", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "rate-a-little-too-high",
    "learning-rate-too-high",
    "loss-oscillating",
    "update-ratio-too-high",
    held_out=True,
    source="CS231n: a high rate settles on a worse loss; AUTOTRAINER: oscillating loss",
)
def rmsprop_that_never_settles(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(friedman())
    mean, std = data.train_y.mean(), data.train_y.std()
    model = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = RMSprop(model.parameters(), lr=0.03 if fault else 0.001)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(16):
        for x, y in data.loader(48):
            loss = F.mse_loss(model(x), (y - mean) / std)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("train/loss", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("val/loss", F.mse_loss(model(data.val_x), (data.val_y - mean) / std).item(), step)


@ill(
    "adam-at-a-millionth",
    "learning-rate-too-low",
    "update-ratio-too-low",
    held_out=True,
    source="DeepCrime HLR; 37 Reasons, 36; UMLAUT: learning rate out of common range",
)
def residual_net_at_a_millionth(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = little_resnet(3, 5)
    model(data.train_x[:2])
    optimizer, criterion = AdamW(model.parameters(), lr=1e-6 if fault else 2e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(14):
        model.train()
        for x, y in data.loader(40):
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("train_loss", loss.item(), step)
            step += 1
        writer.add_scalar("val_acc", accuracy(model, data.val_x, data.val_y), step)


@ill(
    "sgd-at-a-ten-thousandth",
    "learning-rate-too-low",
    "update-ratio-too-low",
    "still-improving",
    held_out=True,
    source="37 Reasons, 36; CS231n: a low rate looks linear",
)
def signals_at_a_ten_thousandth_by_sgd(writer: SummaryWriter, fault: bool = True) -> None:
    data = waves()
    model = nn.Sequential(
        nn.Conv1d(1, 16, 9, padding=4), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(4),
        nn.Conv1d(16, 24, 5, padding=2), nn.BatchNorm1d(24), nn.ReLU(), nn.AdaptiveAvgPool1d(2), nn.Flatten(),
        nn.Linear(48, 5),
    )  # fmt: skip
    optimizer = SGD(model.parameters(), lr=1e-4 if fault else 0.05)
    writer.watch(model, optimizer)
    step = 0
    for epoch in range(10):
        for x, y in data.loader(30):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 10 == 0:
                writer.add_scalar("loss", loss, step)
            step += 1
        writer.add_scalar("accuracy", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "momentum-of-0.995",
    "loss-oscillating",
    "learning-rate-too-high",
    "update-ratio-too-high",
    "loss-diverging",
    held_out=True,
    source="TheDeepChecker: momentum out of range; Sutskever et al. (2013)",
)
def heavy_ball_rolls_past(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    )
    optimizer = SGD(model.parameters(), lr=0.03, momentum=0.995 if fault else 0.9)
    criterion = nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(8):
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("Loss", loss.item(), step)
            step += 1
        writer.add_scalar("Validation accuracy", accuracy(model, data.val_x, data.val_y), step)


@ill(
    "exponential-decay-per-batch",
    "early-lr-decay",
    "learning-rate-too-low",
    "update-ratio-too-low",
    held_out=True,
    source="Forum: scheduler.step() belongs after the epoch, not after the batch",
)
def rate_shrinks_with_each_batch(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = little_resnet(3, 5)
    model(data.train_x[:2])
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    scheduler = ExponentialLR(optimizer, gamma=0.9)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(13):
        for x, y in data.loader(32):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if fault:
                scheduler.step()
            writer.add_scalar("train/loss", loss.item(), step)
            step += 1
        if not fault:
            scheduler.step()
        writer.add_scalar("lr", optimizer.param_groups[0]["lr"], step)
        writer.add_scalar("val/accuracy", accuracy(model, data.val_x, data.val_y), step)


@ill(
    "milestones-reached-in-the-first-epoch",
    "early-lr-decay",
    "learning-rate-too-low",
    "update-ratio-too-low",
    onset=20,
    held_out=True,
    source="Forum: MultiStepLR milestones count steps of the scheduler",
)
def milestones_of_epochs_counted_in_batches(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(customers())
    model = nn.Sequential(nn.Linear(20, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 2))
    optimizer, criterion = Adam(model.parameters(), lr=3e-3), nn.CrossEntropyLoss()
    scheduler = MultiStepLR(optimizer, milestones=[20, 40], gamma=0.02)
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(12):
        for x, y in data.loader(40):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            if fault:
                scheduler.step()
            writer.add_scalar("loss/train", loss.item(), step)
            step += 1
        if not fault:
            scheduler.step()
        with torch.no_grad():
            writer.add_scalar("loss/val", criterion(model(data.val_x), data.val_y).item(), step)


@ill(
    "plateau-watched-on-single-batches",
    "early-lr-decay",
    "learning-rate-too-low",
    "update-ratio-too-low",
    held_out=True,
    source="Forum: ReduceLROnPlateau given the loss of each batch",
)
def plateau_seen_in_the_noise_of_batches(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(friedman())
    mean, std = data.train_y.mean(), data.train_y.std()
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = SGD(model.parameters(), lr=0.05)
    scheduler = ReduceLROnPlateau(optimizer, factor=0.2, patience=3)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(12):
        total = 0.0
        for x, y in data.loader(32):
            loss = F.mse_loss(model(x), (y - mean) / std)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() / 37
            if fault:
                scheduler.step(loss.item())
            writer.add_scalar("loss", loss.item(), step)
            step += 1
        if not fault:
            scheduler.step(total)
        with torch.no_grad():
            writer.add_scalar("val_loss", F.mse_loss(model(data.val_x), (data.val_y - mean) / std).item(), step)


@ill(
    "one-cycle-to-a-peak-of-ten",
    "learning-rate-too-high",
    "update-ratio-too-high",
    "loss-diverging",
    "loss-spike",
    onset=30,
    held_out=True,
    source="Forum: OneCycleLR with max_lr taken from a range test gone wrong",
)
def one_cycle_with_a_towering_peak(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10))
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = OneCycleLR(optimizer, max_lr=10.0 if fault else 0.1, total_steps=336, cycle_momentum=False)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(8):
        for x, y in data.loader(32):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            writer.add_scalar("loss", loss.item(), step)
            writer.add_scalar("lr", scheduler.get_last_lr()[0], step)
            step += 1
        writer.add_scalar("accuracy/val", accuracy(model, data.val_x, data.val_y), step)


@ill(
    "decay-of-three-tenths-within-adam",
    "over-regularized",
    "underfitting",
    "vanishing-activations",
    held_out=True,
    source="DeepCrime RAW: add weights regularisation; 37 Reasons, 30",
)
def decay_that_flattens_a_signal_net(writer: SummaryWriter, fault: bool = True) -> None:
    data = waves()
    model = nn.Sequential(
        nn.Conv1d(1, 16, 9, padding=4), nn.ReLU(), nn.MaxPool1d(4), nn.Conv1d(16, 24, 5, padding=2), nn.ReLU(),
        nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(96, 5),
    )  # fmt: skip
    optimizer = Adam(model.parameters(), lr=2e-3, weight_decay=0.3 if fault else 1e-4)
    criterion = nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(10):
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            writer.add_scalar("loss/train", loss.item(), epoch)
            writer.add_scalar("loss/val", criterion(model(data.val_x), data.val_y).item(), epoch)
        writer.add_scalar("acc/val", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "gradients-clipped-by-value-to-dust",
    "learning-rate-too-low",
    "update-ratio-too-low",
    held_out=True,
    source="DeepCrime: gradient clipping; forum: clip_grad_value_ of 1e-5",
)
def values_clipped_to_a_hundred_thousandth(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(384, 10),
    )  # fmt: skip
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(8):
        for x, y in data.loader(32):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_value_(model.parameters(), 1e-5 if fault else 1.0)
            optimizer.step()
            writer.add_scalar("Train/Loss", loss.item(), step)
            step += 1
        writer.add_scalar("Val/Accuracy", accuracy(model, data.val_x, data.val_y), step)


@ill(
    "whole-set-as-one-batch",
    "large-batch",
    "still-improving",
    "learning-rate-too-low",
    held_out=True,
    source="DeepCrime HBS: change batch size; 37 Reasons, 11",
)
def two_thousand_rows_a_step(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(customers(3000))
    size, epochs = (2250, 160) if fault else (30, 6)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer, criterion = SGD(model.parameters(), lr=0.05), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(epochs):
        for x, y in data.loader(size):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
            step += 1
        writer.add_scalar("val_acc", accuracy(model, data.val_x, data.val_y), step)
