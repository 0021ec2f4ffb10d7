"""Ill for a logarithm, a root or a softmax that has no answer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import Prepare, train
from tests.zoo.faulty.networks import Attention, Encoded, mlp
from tests.zoo.faulty.problems import Problem, images, pixels, rows
from tests.zoo.registry import ill

LOG = "37 Reasons, 37; forum: log of a probability of zero"
MASKED = "Forum: softmax over a row that is masked throughout gives NaN"
ROOT = "Forum: the gradient of a square root at zero is infinite"


def binary(data: Problem) -> Problem:
    """Pixels of 0 or 1, as inputs and as targets."""
    train_x, val_x = (data.train_x > 0).float(), (data.val_x > 0).float()
    return Problem(train_x, train_x, val_x, val_x)


class BinaryLikelihood(nn.Module):
    """The likelihood of pixels, by hand; ``floor`` keeps the logarithms from zero."""

    def __init__(self, floor: float) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, shares: Tensor, x: Tensor) -> Tensor:
        return -(x * (shares + self.floor).log() + (1 - x) * (1 - shares + self.floor).log()).mean()


@ill("likelihood-without-a-floor", "non-finite", source=LOG)
def autoencoder_of_certain_pixels(writer: SummaryWriter, fault: bool = True) -> None:
    model = nn.Sequential(*mlp(64, 48, 64), nn.Sigmoid())
    optimizer = Adam(model.parameters(), lr=0.05)
    train(
        writer, model, optimizer, binary(pixels()),
        criterion=BinaryLikelihood(0.0 if fault else 1e-6), steps=250,
    )  # fmt: skip


@ill("likelihood-without-a-floor", "non-finite", source=LOG)
def tanh_autoencoder_of_certain_pixels(writer: SummaryWriter, fault: bool = True) -> None:
    model = nn.Sequential(*mlp(64, 64, 64, 64, activation=nn.Tanh), nn.Hardsigmoid())
    optimizer = SGD(model.parameters(), lr=0.3, momentum=0.9)
    train(
        writer, model, optimizer, binary(pixels()),
        criterion=BinaryLikelihood(0.0 if fault else 1e-3), steps=250,
    )  # fmt: skip


def blank_from(step: int, sample: int = 3) -> Prepare:
    """One sample of each batch from ``step`` on is blank: an empty sequence, an empty page."""

    def blank(now: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if now >= step:
            x = x.clone()
            x[sample] = 0.0
        return x, y

    return blank


class Padded(nn.Module):
    """Attention over the rows that are not blank; ``guarded`` lets an empty sequence attend to its first row."""

    def __init__(self, attend: Callable[[nn.Module, Tensor, Tensor], Tensor], layer: nn.Module, guarded: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.attend = attend
        self.attention = layer
        self.head = mlp(32, 48, 10)
        self.guarded = guarded

    def forward(self, x: Tensor) -> Tensor:
        present = x.abs().sum(2) > 0
        if self.guarded:
            present[:, 0] = True
        h = self.embed(x)
        return self.head((h + self.attend(self.attention, h, present)).mean(1))


def through_own_head(layer: nn.Module, h: Tensor, present: Tensor) -> Tensor:
    attended: Tensor = layer(h, present)
    return attended


def through_pytorch(layer: nn.Module, h: Tensor, present: Tensor) -> Tensor:
    attended, _ = layer(h, h, h, key_padding_mask=~present)
    return attended  # type: ignore[no-any-return]


@ill("masked-throughout", "non-finite", onset=50, source=MASKED)
def attention_of_an_empty_sequence(writer: SummaryWriter, fault: bool = True) -> None:
    model = Padded(through_own_head, Attention(32), guarded=not fault)
    train(writer, model, Adam(model.parameters(), lr=2e-3), rows(), prepare=blank_from(50), steps=130)


@ill("masked-throughout", "non-finite", onset=70, source=MASKED)
def multihead_attention_of_an_empty_sequence(writer: SummaryWriter, fault: bool = True) -> None:
    model = Padded(through_pytorch, nn.MultiheadAttention(32, 4, batch_first=True), guarded=not fault)
    train(writer, model, AdamW(model.parameters(), lr=1e-3), rows(), prepare=blank_from(70), steps=140)


class Contrast(nn.Module):
    """Samples of one class near each other, of others at least 1 apart; ``floor`` is added below the root."""

    def __init__(self, floor: float) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        other = torch.arange(len(h)).roll(1)
        distance = ((h - h[other]).square().sum(1) + self.floor).sqrt()
        return torch.where(y == y[other], distance, (1 - distance).clamp_min(0)).mean()


@ill("root-at-zero", "non-finite", onset=60, source=ROOT)
def distance_of_a_sample_to_itself(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 16)

    def doubled(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if step >= 60:
            x, y = x.clone(), y.clone()
            x[1], y[1] = x[0], y[0]
        return x, y.float()

    train(
        writer, model, Adam(model.parameters(), lr=1e-3), pixels(), prepare=doubled,
        criterion=Contrast(0.0 if fault else 1e-6), validate_every=0, steps=130,
    )  # fmt: skip


@ill("root-at-zero", "non-finite", onset=40, source=ROOT)
def length_of_the_features_of_an_empty_page(writer: SummaryWriter, fault: bool = True) -> None:
    def to_unit_length(h: Tensor) -> Tensor:
        return h / ((h.square().sum(1, keepdim=True) + (0.0 if fault else 1e-6)).sqrt() + 1e-3)

    features = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.ELU(), nn.MaxPool2d(2), nn.Flatten())
    model = Encoded(features, mlp(192, 48, 10), to_unit_length)
    train(
        writer, model, SGD(model.parameters(), lr=0.1, momentum=0.9), images(), prepare=blank_from(40), steps=120,
    )  # fmt: skip
