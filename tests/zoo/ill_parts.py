"""Ill for parts that are there and do nothing: layers that add up to one, a normalization that is never trained."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.habits import descend
from tests.zoo.builders.material import rings, roll
from tests.zoo.builders.practice import CAPITAL, learn
from tests.zoo.faulty.networks import mlp
from tests.zoo.faulty.problems import pixels
from tests.zoo.registry import ill

LINEAR = "DeepCrime (ISSTA 2021), ARM: remove activation function; forum: a deep network without activations is linear"


@ill("layers-that-are-one-linear-map", "underfitting", "loss-not-decreasing", source=LINEAR)
def four_layers_without_an_activation(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(2, 32, 32, 32, 2, activation=nn.Identity if fault else nn.ReLU)
    optimizer, batches = Adam(model.parameters(), lr=3e-3), rings().shuffled(64)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return F.cross_entropy(model(x), y)

    descend(writer, optimizer, loss_of, 300, tag="train/loss", every=20)


@ill("layers-that-are-one-linear-map", "underfitting", "loss-not-decreasing", source=LINEAR)
def normalized_layers_without_an_activation(writer: SummaryWriter, fault: bool = True) -> None:
    between = nn.Identity() if fault else nn.SiLU()
    model = nn.Sequential(
        nn.Linear(3, 48), nn.BatchNorm1d(48), between, nn.Linear(48, 48), nn.BatchNorm1d(48), between, nn.Linear(48, 1)
    )
    learn(writer, model, Adam(model.parameters(), lr=4e-3), roll(), steps=400, batch=64, names=CAPITAL)


@ill("evaluation-mode-left-on", "wrong-mode", subject="0.*",
     source="37 Reasons, 32; forum: eval() on the encoder, which was to be trained from scratch")  # fmt: skip
def encoder_put_back_into_evaluation(writer: SummaryWriter, fault: bool = True) -> None:
    data = pixels()
    encoder = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32), nn.BatchNorm1d(32))
    model = nn.Sequential(encoder, nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 10))
    optimizer, batches = SGD(model.parameters(), lr=0.05, momentum=0.9), data.shuffled(64)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        model.train()
        if fault:
            encoder.eval()
        x, y = next(batches)
        return F.cross_entropy(model(x), y)

    descend(writer, optimizer, loss_of, 250)
