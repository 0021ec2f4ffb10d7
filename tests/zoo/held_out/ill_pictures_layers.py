"""Set aside: ill for a layer, an activation or a loss that does not belong where it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.datasets import make_multilabel_classification
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.pictures_data import (
    accuracy,
    customers,
    digits,
    friedman,
    scaled,
    shapes,
    split,
    standardized,
    table,
    waves,
)
from tests.zoo.registry import ill


@ill(
    "softmax-over-one-unit",
    "constant-output",
    "no-gradient",
    "vanishing-gradients",
    "saturated-units",
    held_out=True,
    source="StackOverflow: softmax with one output gives 1 for everything; NeuraLint",
)
def tumours_by_a_softmax_of_one(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(table("breast_cancer"))
    last: nn.Module = nn.Softmax(dim=1) if fault else nn.Sigmoid()
    model = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1), last)
    criterion, optimizer = nn.BCELoss(), Adam(model.parameters(), lr=1e-2)
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(20):
        for x, y in data.loader(24):
            optimizer.zero_grad()
            loss = criterion(model(x), y.float().unsqueeze(1))
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            right = (model(data.val_x)[:, 0] > 0.5) == data.val_y
        writer.add_scalar("loss", loss.item(), epoch)
        writer.add_scalar("val_accuracy", right.float().mean(), epoch)


@ill(
    "softmax-kept-from-keras",
    "softmax-before-cross-entropy",
    held_out=True,
    source="PyTorch forum: softmax before nn.CrossEntropyLoss; UMLAUT",
)
def convolutions_that_end_in_a_softmax(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 5),
    )  # fmt: skip
    if fault:
        model.append(nn.Softmax(dim=1))
    optimizer, criterion = SGD(model.parameters(), lr=0.02, momentum=0.9), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for epoch in range(8):
        for x, y in data.loader(40):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("Loss/train", loss.item(), step)
            step += 1
        writer.add_scalar("Accuracy/val", accuracy(model, data.val_x, data.val_y), epoch)


class Tagger(nn.Module):
    def __init__(self, squash: bool) -> None:
        super().__init__()
        self.hidden = nn.Linear(24, 64)
        self.tags = nn.Linear(64, 8)
        self.squash = squash

    def forward(self, x: Tensor) -> Tensor:
        x = self.tags(F.gelu(self.hidden(x)))
        return x.sigmoid() if self.squash else x


@ill(
    "sigmoid-ahead-of-bce-with-logits",
    "softmax-before-cross-entropy",
    held_out=True,
    source="Forum: sigmoid in forward() and BCEWithLogitsLoss, everything is tagged",
)
def tags_squashed_ahead_of_their_loss(writer: SummaryWriter, fault: bool = True) -> None:
    x, y = make_multilabel_classification(1600, 24, n_classes=8, n_labels=2, random_state=1)
    data = standardized(split(torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)))
    model = Tagger(squash=fault)
    optimizer, criterion = AdamW(model.parameters(), lr=3e-3), nn.BCEWithLogitsLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(14):
        for features, tags in data.loader(50):
            optimizer.zero_grad()
            loss = criterion(model(features), tags)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            answers = model(data.val_x)
            writer.add_scalar("Loss/train", loss.item(), epoch)
            writer.add_scalar("Loss/val", criterion(answers, data.val_y).item(), epoch)
            right = ((answers.sigmoid() > 0.5) == (data.val_y > 0.5)).float().mean()
            writer.add_scalar("Accuracy/val", right.item(), epoch)


@ill(
    "nll-on-plain-logits",
    "nll-without-log-softmax",
    "loss-diverging",
    held_out=True,
    source="PyTorch forum: NLLLoss is negative and keeps falling",
)
def negative_likelihood_of_logits_too(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    if not fault:
        model.append(nn.LogSoftmax(dim=1))
    criterion, optimizer = nn.NLLLoss(), SGD(model.parameters(), lr=0.05)
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(12):
        total = 0.0
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() / 42
        writer.add_scalar("train/loss", total, epoch)
        writer.add_scalar("val/acc", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "targets-one-dimension-short",
    "target-broadcast",
    held_out=True,
    source="37 Reasons, 18; forum: using a target size that differs from the input size",
)
def column_of_answers_against_a_row_of_targets(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(friedman())
    mean, std = data.train_y.mean(), data.train_y.std()
    model = nn.Sequential(nn.Linear(10, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
    optimizer, criterion = AdamW(model.parameters(), lr=2e-3), nn.SmoothL1Loss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(14):
        for x, y in data.loader(48):
            y = (y - mean) / std
            optimizer.zero_grad()
            loss = criterion(model(x), y.squeeze(1) if fault else y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("train_loss", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("val_mae", (model(data.val_x) - (data.val_y - mean) / std).abs().mean().item(), step)


@ill(
    "tanh-for-a-quantity-of-thirty",
    "saturated-units",
    "underfitting",
    "constant-output",
    held_out=True,
    source="DeepCrime ACH: change activation; forum: regression predicts 1 for everything",
)
def yields_through_a_tanh(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(friedman())
    model = nn.Sequential(nn.Linear(10, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1))
    if fault:
        model.append(nn.Tanh())
    optimizer = Adam(model.parameters(), lr=5e-3)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(18):
        for x, y in data.loader(40):
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 4 == 0:
                writer.add_scalar("mse", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("val_mse", F.mse_loss(model(data.val_x), data.val_y).item(), step)


@ill(
    "sigmoids-all-the-way-down",
    "vanishing-gradients",
    "vanishing-activations",
    "slow-start",
    held_out=True,
    source="AUTOTRAINER: vanishing gradient; StackOverflow: sigmoid in every layer",
)
def eight_layers_of_sigmoids(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(64, 48)]
    for _ in range(7):
        layers += [nn.Sigmoid() if fault else nn.ReLU(), nn.Linear(48, 48)]
    model = nn.Sequential(*layers, nn.Sigmoid() if fault else nn.ReLU(), nn.Linear(48, 10))
    optimizer = Adam(model.parameters(), lr=1e-3)
    writer.watch(model, optimizer)
    step = 0
    for epoch in range(9):
        for x, y in data.loader(32):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
            step += 1
        writer.add_scalar("val accuracy", accuracy(model, data.val_x, data.val_y), epoch)


class Block(nn.Module):
    def __init__(self, width: int, shortcut: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut * x + self.outer(F.relu(self.inner(x)))


def residual_net(inputs: int, depth: int, shortcut: float, outputs: int) -> nn.Sequential:
    blocks = (Block(40, shortcut) for _ in range(depth))
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 40), *blocks, nn.Linear(40, outputs))


@ill(
    "sum-forgotten-in-a-residual-net",
    "vanishing-activations",
    "vanishing-gradients",
    held_out=True,
    source="Humbatova et al.: missing layer connection; forum: x = block(x)",
)
def residual_blocks_that_return_the_residual(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    model = residual_net(64, 9, 0.0 if fault else 1.0, 10)
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(8):
        losses = []
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        writer.add_scalar("train/loss", torch.stack(losses).mean(), epoch)
        writer.add_scalar("val/accuracy", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "shortcut-added-twice",
    "exploding-activations",
    "exploding-gradients",
    "initial-loss-off",
    held_out=True,
    source="Humbatova et al.: wrong layer connection; a sum that doubles with each block",
)
def shortcut_within_and_around_each_block(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(customers())
    model = residual_net(20, 10, 2.0 if fault else 1.0, 2)
    optimizer = Adam(model.parameters(), lr=1e-3)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(8):
        for x, y in data.loader(36):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss/train", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("loss/val", F.cross_entropy(model(data.val_x), data.val_y).item(), step)
        writer.add_scalar("accuracy/val", accuracy(model, data.val_x, data.val_y), step)


@ill(
    "groups-of-one-value",
    "constant-output",
    "vanishing-activations",
    "no-gradient",
    "vanishing-gradients",
    held_out=True,
    source="Forum: GroupNorm with a group per channel, after global pooling, is always zero",
)
def each_pooled_channel_normalized_alone(writer: SummaryWriter, fault: bool = True) -> None:
    data = waves()
    model = nn.Sequential(
        nn.Conv1d(1, 24, 9, padding=4), nn.ReLU(), nn.Conv1d(24, 32, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1),
        nn.GroupNorm(32 if fault else 1, 32), nn.Flatten(), nn.Linear(32, 5),
    )  # fmt: skip
    optimizer, criterion = AdamW(model.parameters(), lr=3e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for epoch in range(8):
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
            step += 1
        writer.add_scalar("accuracy", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "relu-ahead-of-the-loss",
    "dead-units",
    "constant-output",
    subject="*",
    held_out=True,
    source="DeepLocalize: wrong last activation; forum: ReLU after the last layer",
)
def logits_cut_at_zero(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    if fault:
        model.append(nn.ReLU())
    optimizer, criterion = SGD(model.parameters(), lr=0.1, momentum=0.9), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(8):
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        writer.add_scalar("loss", loss.item(), epoch)
        writer.add_scalar("val_acc", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "dropout-of-nine-tenths",
    "over-regularized",
    "underfitting",
    held_out=True,
    source="DeepCrime RCD: change dropout rate; 37 Reasons, 30",
)
def nine_tenths_dropped_twice(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    rate = 0.9 if fault else 0.1
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(rate),
        nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(rate), nn.Linear(384, 5),
    )  # fmt: skip
    optimizer = Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(12):
        model.train()
        for x, y in data.loader(32):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 10 == 0:
                writer.add_scalar("Loss/train", loss.item(), step)
            step += 1
        model.eval()
        with torch.no_grad():
            answers = model(data.val_x)
            writer.add_scalar("Loss/val", F.cross_entropy(answers, data.val_y).item(), step)
            writer.add_scalar("Acc/val", (answers.argmax(1) == data.val_y).float().mean().item(), step)


@ill(
    "nonlinearity-forgotten",
    "underfitting",
    "loss-not-decreasing",
    held_out=True,
    source="DeepCrime ARM: remove activation; forum: a deep net no better than a line",
)
def rings_by_a_stack_of_linear_layers(writer: SummaryWriter, fault: bool = True) -> None:
    angle, ring = torch.rand(1200) * 6.2832, torch.randint(3, (1200,))
    radius = 1.0 * ring + 0.5 + 0.12 * torch.randn(1200)
    data = standardized(split(torch.stack([radius * angle.cos(), radius * angle.sin()], 1), ring))
    between: type[nn.Module] = nn.Identity if fault else nn.ReLU
    model = nn.Sequential(nn.Linear(2, 32), between(), nn.Linear(32, 32), between(), nn.Linear(32, 3))
    optimizer, criterion = Adam(model.parameters(), lr=5e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(15):
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("train/loss", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("val/loss", criterion(model(data.val_x), data.val_y).item(), step)
        writer.add_scalar("val/accuracy", accuracy(model, data.val_x, data.val_y), step)


@ill(
    "decoder-cannot-reach-its-targets",
    "saturated-units",
    "underfitting",
    held_out=True,
    source="Forum: a sigmoid decoder for inputs of mean 0 and std 1",
)
def sigmoid_decoder_of_standardized_pictures(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 48), nn.ReLU(),
        nn.Linear(48, 64), nn.Sigmoid() if fault else nn.Identity(),
    )  # fmt: skip
    optimizer = Adam(model.parameters(), lr=3e-3)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(10):
        for x, _y in data.loader(32):
            loss = F.mse_loss(model(x), x.flatten(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("reconstruction", loss.item(), step)
            step += 1
        with torch.no_grad():
            error = F.mse_loss(model(data.val_x), data.val_x.flatten(1))
        writer.add_scalar("val_reconstruction", error.item(), step)
