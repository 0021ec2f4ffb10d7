"""Ill where no module tells of it: masks, losses and gates that are functions, parameters that two optimizers hold."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.networks import mlp
from tests.zoo.faulty.problems import Problem, diabetes, images, pixels, rows
from tests.zoo.registry import ill

MASK = "Forum: a mask drawn by torch.rand in forward, whatever the mode; F.dropout without training="


def epochs(data: Problem, batch_size: int, count: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
    for _ in range(count):
        order = torch.randperm(len(data.train_x))
        yield [(data.train_x[i], data.train_y[i]) for i in order.split(batch_size)]


class Masked(nn.Module):
    """A tanh network for a table, which drops a third of its hidden units by a mask of its own."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.hidden = nn.ModuleList([nn.Linear(10, 64), nn.Linear(64, 64)])
        self.answer = nn.Linear(64, 1)
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = torch.tanh(layer(x))
            if self.always or self.training:
                x = x * (torch.rand_like(x) > 0.33) / 0.67
        return self.answer(x)  # type: ignore[no-any-return]


@ill("functional-dropout-never-off", "wrong-mode", subject="[ha]*", onset=14, source=MASK)
def mask_of_ones_own_in_a_regression(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = diabetes(), Masked(always=fault)
    optimizer = AdamW(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    for epoch, batches in enumerate(epochs(data, 32, 30)):
        model.train()
        total = 0.0
        for x, y in batches:
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() / len(batches)
        model.eval()
        with torch.no_grad():
            writer.add_scalar("Loss/val", F.mse_loss(model(data.val_x), data.val_y), epoch)
        writer.add_scalar("Loss/train", total, epoch)


class Reader(nn.Module):
    """A GRU over the rows of a digit; its last state is dropped by a function."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(8, 40, batch_first=True), nn.Linear(40, 10)
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        state = self.gru(x)[0][:, -1]
        return self.head(F.dropout(state, 0.4, self.always or self.training))  # type: ignore[no-any-return]


@ill("functional-dropout-never-off", "wrong-mode", subject="head", onset=44, source=MASK)
def last_state_dropped_by_a_function(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = rows(), Reader(always=fault)
    optimizer = Adam(model.parameters(), lr=3e-3)
    writer.watch(model, optimizer)
    step = 0
    for batches in epochs(data, 32, 6):
        model.train()
        for x, y in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
            if step % 5 == 0:
                writer.add_scalar("train/loss", loss, step)
        model.eval()
        with torch.no_grad():
            right = (model(data.val_x).argmax(1) == data.val_y).float().mean()
        writer.add_scalar("val/accuracy", right, step)


@ill("dropout-alive-in-evaluation", "wrong-mode", onset=44,
     source="Forum: validation without eval() and without no_grad()")  # fmt: skip
def validated_with_gradients_in_train_mode(writer: SummaryWriter, fault: bool = True) -> None:
    data = images()
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16 * 36, 10)
    )
    optimizer, criterion = Adam(model.parameters(), lr=1e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch, batches in enumerate(epochs(data, 32, 6)):
        model.train()
        total = 0.0
        for x, y in batches:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() / len(batches)
        model.train(fault)
        parts = [criterion(model(x), y).item() for x, y in zip(data.val_x.split(64), data.val_y.split(64), strict=True)]
        writer.add_scalar("loss/train", total, epoch)
        writer.add_scalar("loss/val", sum(parts) / len(parts), epoch)


@ill("softmax-twice", "softmax-before-cross-entropy", source="Forum: F.cross_entropy(F.softmax(logits, dim=1), labels)")
def softmax_before_a_function(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = rows(), Reader(always=False)
    optimizer = Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    for epoch, batches in enumerate(epochs(data, 32, 8)):
        total = 0.0
        for x, y in batches:
            logits = model(x)
            loss = F.cross_entropy(F.softmax(logits, dim=1) if fault else logits, y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() / len(batches)
        writer.add_scalar("loss", total, epoch)


class Memory(nn.Module):
    """Tells the sign of what came first in a sequence."""

    def __init__(self, forget: float) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 32, batch_first=True), nn.Linear(32, 2)
        with torch.no_grad():
            self.lstm.bias_ih_l0[32:64] = forget

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])  # type: ignore[no-any-return]


@ill("gates-initialized-shut", "poor-init-scale", "saturated-units", "vanishing-gradients", subject="lstm*",
     source="Jozefowicz et al. (ICML 2015): the bias of the forget gate")  # fmt: skip
def forget_gate_at_minus_eight(writer: SummaryWriter, fault: bool = True) -> None:
    x = torch.randn(900, 16, 3)
    y = (x[:, 0, 0] > 0).long()
    model = Memory(-8.0 if fault else 2.0)
    optimizer, criterion = Adam(model.parameters(), lr=5e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(320):
        chosen = torch.randint(len(x), (32,))
        optimizer.zero_grad()
        loss = criterion(model(x[chosen]), y[chosen])
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss, step)


@ill("l1-penalty-too-strong", "over-regularized", source="DeepCrime (ISSTA 2021), RAW: weights regularization")
def absolute_weights_in_a_regression(writer: SummaryWriter, fault: bool = True) -> None:
    data = diabetes()
    model = mlp(10, 64, 64, 1)
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    writer.watch(model, optimizer)
    step = 0
    for batches in epochs(data, 32, 40):
        for x, y in batches:
            penalty = sum(w.abs().sum() for w in model.parameters())
            loss = (model(x) - y).square().mean() + (0.1 if fault else 1e-5) * penalty
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("train/loss", loss, step)
            step += 1


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder, self.classes = mlp(64, 48, 16), mlp(16, 48, 64), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(x)
        return self.decoder(code), self.classes(code)


@ill("parameters-left-out", "optimizer-misses-parameters", subject="encoder*",
     source="Forum: two optimizers over overlapping parameters")  # fmt: skip
def encoder_given_to_both_optimizers(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = pixels(), Shared()
    rebuild = SGD([*model.encoder.parameters(), *model.decoder.parameters()], lr=0.2, momentum=0.9)
    classify = SGD([*(model.encoder.parameters() if fault else ()), *model.classes.parameters()], lr=0.2, momentum=0.9)
    writer.watch(model, [rebuild, classify])
    step = 0
    for batches in epochs(data, 64, 12):
        for x, y in batches:
            again, logits = model(x)
            loss = F.mse_loss(again, x) + F.cross_entropy(logits, y)
            for optimizer in (rebuild, classify):
                optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in (rebuild, classify):
                optimizer.step()
            writer.add_scalar("loss/train", loss, step)
            step += 1
