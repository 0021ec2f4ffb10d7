"""Ill for what a loss function is given, where no loss module tells of it: shapes, signs, scales and labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.habits import descend
from tests.zoo.builders.material import discs, prices
from tests.zoo.faulty.networks import cnn, mlp
from tests.zoo.faulty.problems import diabetes, images, tumours
from tests.zoo.registry import ill

PAIRS = "37 Reasons, 18; forum: an output of (n, 1) against targets of (n,) broadcasts"
TWICE = "Forum: sigmoid before binary_cross_entropy_with_logits"
ASCENT = "Forum: minus the loss is minimized; DeepCrime (ISSTA 2021), LCH: change loss function"
APART = "37 Reasons, 4; Zhang et al., Understanding deep learning requires rethinking generalization (ICLR 2017)"
UNITS = "37 Reasons, 12: standardize the features; forum: Unix times as a feature of a series"

Values = dict[str, float]


def explained(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], Values]:
    return lambda: {"val/r2": 1 - (F.mse_loss(model(x), y) / y.var()).item()}


@ill("target-broadcast", "target-broadcast", source=PAIRS)
def absolute_errors_of_every_pair(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = prices(), mlp(7, 48, 1, activation=nn.GELU)
    optimizer, batches = AdamW(model.parameters(), lr=2e-3), prices().shuffled(48)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return (model(x) - (y[:, 0] if fault else y)).abs().mean()

    examine = explained(model, data.val_x, data.val_y)
    descend(writer, optimizer, loss_of, 300, tag="epoch_loss", every=20, examine=examine)


@ill("target-broadcast", "target-broadcast", source=PAIRS)
def squares_of_every_pair_once_an_epoch(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = diabetes(), mlp(10, 24, 1, activation=nn.Tanh)
    optimizer, batches = SGD(model.parameters(), lr=0.03, momentum=0.9), diabetes().shuffled(32)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return ((model(x) - (y.squeeze(1) if fault else y)) ** 2).mean()

    examine = explained(model, data.val_x, data.val_y)
    descend(writer, optimizer, loss_of, 220, tag="train_mse", every=11, examine=examine)


class Forecast(nn.Module):
    """The value that follows a window (n, time, features), from the last state of an LSTM."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(features, 24, batch_first=True)
        self.head = nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(x)[0][:, -1])  # type: ignore[no-any-return]


def waves(length: int = 20, count: int = 650) -> tuple[Tensor, Tensor, Tensor]:
    """Windows (count, length, 1) of a sum of two waves with noise, the value after each, and the time of each point."""
    generator = torch.Generator().manual_seed(8)
    time = torch.arange(count + length, dtype=torch.float32)
    series = (time / 5).sin() + 0.5 * (time / 17).sin() + 0.05 * torch.randn(len(time), generator=generator)
    places = torch.arange(count)[:, None] + torch.arange(length)
    return series[places][..., None], series[length:, None], time[places][..., None]


@ill("target-broadcast", "target-broadcast", source=PAIRS)
def next_value_against_all_next_values(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, _ = waves()
    model = Forecast(1)
    optimizer = Adam(model.parameters(), lr=5e-3)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        chosen = torch.randint(len(x), (32,))
        return F.huber_loss(model(x[chosen]), y[chosen, 0] if fault else y[chosen])

    descend(writer, optimizer, loss_of, 200, tag="Loss/Train", every=10)


@ill("measurements-in-their-own-units", "unnormalized-input", source=UNITS)
def unix_times_into_a_recurrence(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, time = waves()
    clock = 1.7e9 + 3600 * time if fault else time / time.max() - 0.5
    model = Forecast(2)
    optimizer = Adam(model.parameters(), lr=5e-3)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        chosen = torch.randint(len(x), (32,))
        return F.mse_loss(model(torch.cat([x, clock], 2)[chosen]), y[chosen])

    descend(writer, optimizer, loss_of, 200, tag="train/loss")


@ill("sigmoid-twice", "softmax-before-cross-entropy", source=TWICE)
def sigmoid_before_the_loss_of_a_mask(writer: SummaryWriter, fault: bool = True) -> None:
    pictures, masks, _ = discs()
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 1, 1), *([nn.Sigmoid()] if fault else []),
    )  # fmt: skip
    optimizer = Adam(model.parameters(), lr=3e-3)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        chosen = torch.randint(len(pictures), (20,))
        return F.binary_cross_entropy_with_logits(model(pictures[chosen]), masks[chosen])

    descend(writer, optimizer, loss_of, 150, tag="seg_loss")


class Focal(nn.Module):
    """After Lin et al., Focal loss for dense object detection (2017): a criterion of one's own, which takes logits."""

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        cost = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
        return ((1 - (-cost).exp()) ** 2 * cost).mean()


@ill("sigmoid-twice", "softmax-before-cross-entropy", source=TWICE)
def sigmoid_before_a_focal_criterion(writer: SummaryWriter, fault: bool = True) -> None:
    pictures, masks, _ = discs()
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 1, 1), *([nn.Sigmoid()] if fault else []),
    )  # fmt: skip
    optimizer, criterion = Adam(model.parameters(), lr=3e-3), Focal()
    writer.watch(model, optimizer, criterion=criterion)

    def loss_of(step: int) -> Tensor:
        chosen = torch.randint(len(pictures), (20,))
        loss: Tensor = criterion(model(pictures[chosen]), masks[chosen])
        return loss

    descend(writer, optimizer, loss_of, 150, tag="seg_loss")


@ill("likelihood-of-raw-scores", "nll-without-log-softmax", source="Forum: clamp in place of sigmoid before BCELoss")
def scores_clamped_into_a_binary_cross_entropy(writer: SummaryWriter, fault: bool = True) -> None:
    pictures, masks, _ = discs()
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1)
    )
    optimizer = Adam(model.parameters(), lr=3e-3)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        chosen = torch.randint(len(pictures), (20,))
        scores = model(pictures[chosen])
        likely = scores.clamp(1e-6, 1 - 1e-6) if fault else scores.sigmoid()
        return F.binary_cross_entropy(likely, masks[chosen])

    descend(writer, optimizer, loss_of, 150, tag="seg_loss")


@ill("ascent", "loss-diverging", source=ASCENT)
def minus_the_cross_entropy(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = images(), cnn((8, 16))
    optimizer, batches = Adam(model.parameters(), lr=1e-3), data.shuffled(64)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        loss = F.cross_entropy(model(x), y)
        return -loss if fault else loss

    descend(writer, optimizer, loss_of, 160, tag="train_loss", every=8)


@ill("ascent", "loss-diverging", source=ASCENT)
def squared_errors_that_are_subtracted(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = prices(), mlp(7, 32, 1)
    optimizer, batches = SGD(model.parameters(), lr=0.01), prices().shuffled(64)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        loss = F.mse_loss(model(x), y)
        return -loss if fault else loss

    descend(writer, optimizer, loss_of, 200, tag="Loss", examine=explained(model, data.val_x, data.val_y))


@ill("labels-apart-from-inputs", "overfitting", "loss-not-decreasing", source=APART)
def labels_permuted_once_and_learned_by_heart(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = images(), cnn((8, 16))
    optimizer = Adam(model.parameters(), lr=1e-3)
    y = data.train_y[torch.randperm(len(data.train_y), generator=torch.Generator().manual_seed(3))]
    labels = y if fault else data.train_y
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        chosen = torch.randint(len(labels), (64,))
        return F.cross_entropy(model(data.train_x[chosen]), labels[chosen])

    def examine() -> Values:
        told = model(data.val_x)
        right = (told.argmax(1) == data.val_y).float().mean().item()
        return {"val_loss": F.cross_entropy(told, data.val_y).item(), "val_acc": right}

    descend(writer, optimizer, loss_of, 600, tag="train_loss", every=20, examine=examine, examine_every=20, modes=model)


@ill("labels-apart-from-inputs", "loss-not-decreasing", "overfitting", source=APART)
def prices_of_other_houses(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = prices(), mlp(7, 32, 1)
    optimizer = Adam(model.parameters(), lr=1e-3)
    order = torch.randperm(len(data.train_y), generator=torch.Generator().manual_seed(3))
    asked = data.train_y[order] if fault else data.train_y
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        chosen = torch.randint(len(asked), (64,))
        return F.mse_loss(model(data.train_x[chosen]), asked[chosen])

    def examine() -> Values:
        return {"loss/val": F.mse_loss(model(data.val_x), data.val_y).item()}

    descend(writer, optimizer, loss_of, 1200, tag="loss/train", every=60, examine=examine, examine_every=60)


@ill("sigmoid-twice", "softmax-before-cross-entropy", source=TWICE)
def sigmoid_before_the_function_with_logits(writer: SummaryWriter, fault: bool = True) -> None:
    data = tumours()
    model = nn.Sequential(*mlp(30, 32, 1), *([nn.Sigmoid()] if fault else []))
    optimizer, batches = Adam(model.parameters(), lr=3e-3), data.shuffled(32)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return F.binary_cross_entropy_with_logits(model(x), y)

    descend(writer, optimizer, loss_of, 250, tag="Train/BCE", every=10)
