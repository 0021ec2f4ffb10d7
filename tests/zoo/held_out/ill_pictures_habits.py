"""Set aside: ill in loops of other habits: a trainer of one's own, steps by hand, autocast, accumulation, groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.pictures_data import (
    Split,
    accuracy,
    customers,
    digits,
    friedman,
    scaled,
    shapes,
    standardized,
    waves,
)
from tests.zoo.registry import ill


class Trainer:
    """What many projects have: a class that holds model, optimizer, writer and loops."""

    def __init__(self, model: nn.Module, data: Split, writer: SummaryWriter, batch_size: int = 32) -> None:
        self.model, self.data, self.writer = model, data, writer
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = self.configure_optimizer()
        self.batch_size, self.global_step = batch_size, 0
        writer.watch(model, self.optimizer, criterion=self.criterion)

    def configure_optimizer(self) -> Optimizer:
        return AdamW(self.model.parameters(), lr=2e-3)

    def training_step(self, x: Tensor, y: Tensor) -> Tensor:
        return self.criterion(self.model(x), y)

    def fit(self, epochs: int) -> None:
        for epoch in range(epochs):
            self.model.train()
            for x, y in self.data.loader(self.batch_size):
                self.optimizer.zero_grad()
                loss = self.training_step(x, y)
                loss.backward()
                self.optimizer.step()
                self.global_step += 1
                if self.global_step % 5 == 0:
                    self.writer.add_scalar("train/loss", loss.item(), self.global_step)
            self.validate(epoch)

    def validate(self, epoch: int) -> None:
        self.model.eval()
        with torch.no_grad():
            answers = self.model(self.data.val_x)
            self.writer.add_scalar("val/loss", self.criterion(answers, self.data.val_y).item(), epoch)
            self.writer.add_scalar("val/acc", (answers.argmax(1) == self.data.val_y).float().mean().item(), epoch)


class Projected(nn.Module):
    """Digits, projected onto a few directions of their own making."""

    def __init__(self) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(64, 4) / 8)
        self.fc1, self.fc2 = nn.Linear(4, 48), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(x.flatten(1) @ self.directions)))


class ByName(Trainer):
    def configure_optimizer(self) -> Optimizer:
        named = list(self.model.named_parameters())
        weights = [p for name, p in named if name.endswith("weight")]
        biases = [p for name, p in named if name.endswith("bias")]
        return SGD([{"params": weights, "weight_decay": 1e-4}, {"params": biases}], lr=0.05, momentum=0.9)


class All(Trainer):
    def configure_optimizer(self) -> Optimizer:
        return SGD(self.model.parameters(), lr=0.05, momentum=0.9)


@ill(
    "groups-by-name-miss-a-parameter",
    "optimizer-misses-parameters",
    "frozen-parameters",
    held_out=True,
    source="Forum: groups of weights and biases by name, and a bare nn.Parameter in neither",
)
def directions_in_neither_group(writer: SummaryWriter, fault: bool = True) -> None:
    trainer = (ByName if fault else All)(Projected(), scaled(digits(), 76, 96), writer)
    trainer.fit(9)


class Forgetful(nn.Module):
    def __init__(self, forgetful: bool) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(20, 64), nn.Linear(64, 64), nn.Linear(64, 2)
        self.forgetful = forgetful

    def forward(self, x: Tensor) -> Tensor:
        switch = True if self.forgetful else self.training
        x = F.dropout(F.relu(self.fc1(x)), 0.6, training=switch)
        x = F.dropout(F.relu(self.fc2(x)), 0.6, training=switch)
        return self.fc3(x)


@ill(
    "functional-dropout-in-evaluation",
    "wrong-mode",
    "prediction-jitter",
    held_out=True,
    source="PyTorch forum: F.dropout(x) without training=self.training",
)
def dropout_by_function_in_evaluation(writer: SummaryWriter, fault: bool = True) -> None:
    Trainer(Forgetful(fault), standardized(customers()), writer, batch_size=40).fit(12)


@ill(
    "descent-by-hand-without-clearing",
    "stale-gradients",
    held_out=True,
    source="StackOverflow: manual update of parameters, grad.zero_() forgotten",
)
def steps_by_hand_on_piled_gradients(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(friedman())
    mean, std = data.train_y.mean(), data.train_y.std()
    model = nn.Sequential(nn.Linear(10, 48), nn.Tanh(), nn.Linear(48, 1))
    writer.watch(model)
    step = 0
    for _ in range(11):
        for x, y in data.loader(32):
            loss = F.mse_loss(model(x), (y - mean) / std)
            loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.05 * parameter.grad
                    if not fault:
                        parameter.grad.zero_()
            writer.add_scalar("loss", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("val_loss", F.mse_loss(model(data.val_x), (data.val_y - mean) / std).item(), step)


@ill(
    "rate-scaled-for-a-batch-that-is-not-there",
    "learning-rate-too-high",
    "update-ratio-too-high",
    "loss-diverging",
    held_out=True,
    source="Goyal et al. (2017): the linear rule, applied to a rate meant for another batch",
)
def sixty_four_times_the_rate_under_autocast(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(384, 5),
    )  # fmt: skip
    optimizer = SGD(model.parameters(), lr=0.02 * (64 if fault else 1), momentum=0.9)
    scheduler = CosineAnnealingLR(optimizer, T_max=12)
    writer.watch(model, optimizer)
    updates = 0
    for epoch in range(12):
        optimizer.zero_grad()
        for i, (x, y) in enumerate(data.loader(16)):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                answers = model(x)
            loss = F.cross_entropy(answers.float(), y) / 2
            loss.backward()
            if i % 2 == 1:
                optimizer.step()
                optimizer.zero_grad()
                updates += 1
                writer.add_scalar("Loss/train", 2 * loss.item(), updates)
        scheduler.step()
        writer.add_scalar("Accuracy/val", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "each-split-divided-by-its-own-maximum",
    "input-range-mismatch",
    held_out=True,
    source="Humbatova et al.: wrong preprocessing; scalers fitted on each split, one with an outlier",
)
def validation_squeezed_by_an_outlier(writer: SummaryWriter, fault: bool = True) -> None:
    raw = waves()
    noisy = raw.val_x.clone()
    noisy[7, 0, 3] = 60.0
    train_x, top = raw.train_x / raw.train_x.abs().max(), noisy.abs().max() if fault else raw.train_x.abs().max()
    data = raw.with_inputs(2 * train_x, 2 * noisy / top)
    model = nn.Sequential(
        nn.Conv1d(1, 16, 9, padding=4), nn.ReLU(), nn.MaxPool1d(4), nn.Conv1d(16, 24, 5), nn.ReLU(), nn.Flatten(),
        nn.Linear(288, 5),
    )  # fmt: skip
    Trainer(model, data, writer, batch_size=40).fit(9)


@ill(
    "stopped-while-falling",
    "still-improving",
    held_out=True,
    source="DeepCrime HNE: change number of epochs; Karpathy's recipe: leave it training",
)
def three_epochs_as_in_the_tutorial(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(384, 32), nn.ReLU(), nn.Linear(32, 5),
    )  # fmt: skip
    optimizer, criterion = Adam(model.parameters(), lr=4e-4), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for epoch in range(5 if fault else 20):
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("training loss", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("validation loss", criterion(model(data.val_x), data.val_y).item(), epoch)
        writer.add_scalar("validation accuracy", accuracy(model, data.val_x, data.val_y), epoch)


class Backboned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv1d(1, 12, 9, padding=4), nn.ReLU(), nn.MaxPool1d(4), nn.Conv1d(12, 16, 5), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.Linear(192, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


def run(optimizer: Optimizer, batches: Iterable[tuple[Tensor, Tensor]], loss_of: Callable[..., Tensor]) -> list[float]:
    """One epoch in which the optimizer calls a closure."""
    losses = []
    for x, y in batches:

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss = loss_of(x, y)
            loss.backward()
            return loss

        losses.append(float(optimizer.step(closure)))
    return losses


@ill(
    "body-frozen-at-random-weights",
    "frozen-parameters",
    "no-gradient",
    "underfitting",
    held_out=True,
    source="Forum: pretrained=False and requires_grad=False, only the head learns",
)
def random_body_that_was_meant_pretrained(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = waves(), Backboned()
    if fault:
        model.backbone.requires_grad_(False)
    optimizer = Adam(filter(lambda p: p.requires_grad, model.parameters()), lr=2e-3)
    writer.watch(model, optimizer)
    for epoch in range(8):
        losses = run(optimizer, data.loader(32), lambda x, y: F.cross_entropy(model(x), y))
        writer.add_scalar("loss/train", sum(losses) / len(losses), epoch)
        writer.add_scalar("accuracy/val", accuracy(model, data.val_x, data.val_y), epoch)
