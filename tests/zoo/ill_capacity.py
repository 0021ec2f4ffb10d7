"""Ill for what they can express: too little network, too much regularization, activations missing or misplaced."""

from __future__ import annotations

import torch
from sklearn.datasets import make_circles
from torch import nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import at, train
from tests.zoo.faulty.networks import HandWritten, Recurrent, cnn, initialize, mlp
from tests.zoo.faulty.problems import Problem, images, pixels, rows
from tests.zoo.registry import ill

RRW = "DeepCrime (ISSTA 2021), RAW: add weights regularisation"
ARM = "DeepCrime (ISSTA 2021), ARM: remove activation function"
VANISHING = "AUTOTRAINER (ICSE 2021): deep sigmoid network; vanishing gradient"
DYING = "AUTOTRAINER (ICSE 2021): dying ReLU"


@ill("weight-decay-too-strong", "over-regularized", source=RRW)
def sgd_with_decay_0_3(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    optimizer = SGD(model.parameters(), lr=0.1, weight_decay=0.3 if fault else 1e-4)
    train(writer, model, optimizer, pixels(), steps=300)


@ill("weight-decay-too-strong", "over-regularized", source=RRW)
def adamw_with_decay_50(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False)
    optimizer = AdamW(model.parameters(), lr=1e-3, weight_decay=50.0 if fault else 1e-2)
    train(writer, model, optimizer, images(), steps=300)


@ill("weight-decay-too-strong", "over-regularized", source="TheDeepChecker (TOSEM 2023): inadequate regularization")
def recurrent_network_with_decay_0_1(writer: SummaryWriter, fault: bool = True) -> None:
    model = Recurrent(nn.GRU, 48)
    optimizer = SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=0.05 if fault else 0.0)
    train(writer, model, optimizer, rows(), steps=200)


@ill("network-too-small", "underfitting", source="Ng, Machine Learning Yearning: high bias; CS231n: capacity")
def two_hidden_units(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 2 if fault else 48, 10)
    train(writer, model, Adam(model.parameters(), lr=5e-3), pixels(), steps=500)


@ill("network-too-small", "underfitting", source="Ng, Machine Learning Yearning: high bias; CS231n: capacity")
def one_channel_pooled_to_one_number(writer: SummaryWriter, fault: bool = True) -> None:
    channels = 1 if fault else 24
    model = nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(4 if not fault else 8),
        nn.Flatten(),
        nn.Linear(channels * (1 if fault else 4), 10),
    )
    train(writer, model, Adam(model.parameters(), lr=1e-2), images(), steps=400)


def circles() -> Problem:
    """Two rings, one within the other, which no linear map parts."""
    x, y = make_circles(1200, noise=0.08, factor=0.5, random_state=0)
    points, labels = torch.tensor(x, dtype=torch.float32) / 0.6, torch.tensor(y)
    return Problem(points[:900], labels[:900], points[900:], labels[900:])


@ill("activations-removed", "underfitting", "loss-not-decreasing", source=ARM)
def linear_layers_on_rings(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(2, 32, 32, 2, activation=nn.Identity if fault else nn.ReLU)
    train(writer, model, Adam(model.parameters(), lr=5e-3), circles(), steps=400)


@ill("activations-removed", "underfitting", "loss-not-decreasing", source=ARM)
def linear_layers_with_normalization_on_rings(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(2, 24, 24, 24, 2, activation=nn.Identity if fault else nn.Tanh, norm=nn.BatchNorm1d)
    train(writer, model, SGD(model.parameters(), lr=0.1), circles(), steps=400)


@ill("deep-sigmoids", "vanishing-gradients", subject="[0-9]*", source=VANISHING)
def twelve_sigmoid_layers(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, *[32] * 12, 10, activation=nn.Sigmoid if fault else nn.ReLU)
    if not fault:
        initialize(model, nn.init.kaiming_normal_, nn.init.zeros_)
    train(writer, model, SGD(model.parameters(), lr=0.05), pixels())


@ill("deep-sigmoids", "vanishing-gradients", source=VANISHING)
def six_convolutions_of_sigmoids(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8,) * 6, norm=False, activation=nn.Sigmoid if fault else nn.ReLU)
    if not fault:
        initialize(model, nn.init.kaiming_normal_, nn.init.zeros_)
    train(writer, model, SGD(model.parameters(), lr=0.05, momentum=0.9), images())


@ill("deep-sigmoids", "vanishing-gradients", source="Hochreiter (1991), Bengio et al. (1994): long-term dependencies")
def sigmoid_recurrence_over_forty_steps(writer: SummaryWriter, fault: bool = True) -> None:
    activation = torch.sigmoid if fault else torch.tanh
    model = HandWritten(1.0, activation=activation, repeats=5 if fault else 1)
    train(writer, model, SGD(model.parameters(), lr=0.05), rows(), steps=120)


@ill("step-kills-relus", "dead-units", "learning-rate-too-high", "update-ratio-too-high", onset=60, source=DYING)
def one_giant_step(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 64, 10)
    optimizer = SGD(model.parameters(), lr=0.05)

    def kick(step: int) -> None:
        optimizer.param_groups[0]["lr"] = 30.0 if fault and step == 60 else 0.05

    train(writer, model, optimizer, pixels(), before_step=kick, steps=220)


@ill("step-kills-relus", "dead-units", "learning-rate-too-high", "update-ratio-too-high", onset=50, source=DYING)
def a_few_steps_of_a_warm_restart(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False)
    optimizer = Adam(model.parameters(), lr=1e-3)

    def restart(step: int) -> None:
        optimizer.param_groups[0]["lr"] = 0.3 if fault and 50 <= step < 54 else 1e-3

    train(writer, model, optimizer, images(), before_step=restart, steps=220)


@ill(
    "biases-far-above-zero",
    "activation-mean-shift",
    "poor-init-scale",
    source="37 Reasons, 33; LeCun et al., Efficient BackProp (1998)",
)
def hidden_biases_of_ten(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 64, 10)
    if fault:
        for i in (0, 2, 4):
            nn.init.constant_(model[i].bias, 10.0)  # type: ignore[arg-type]
    train(writer, model, SGD(model.parameters(), lr=0.01, momentum=0.9), pixels())


@ill(
    "biases-far-above-zero",
    "activation-mean-shift",
    "poor-init-scale",
    source="37 Reasons, 33; LeCun et al., Efficient BackProp (1998)",
)
def convolution_biases_of_five(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16, 16), norm=False, activation=nn.ELU)
    if fault:
        initialize(model, lambda weight: None, lambda bias: nn.init.constant_(bias, 6.0))
        nn.init.zeros_(model[-1].bias)  # type: ignore[arg-type]
    train(writer, model, Adam(model.parameters(), lr=3e-4), images())


def reset(model: nn.Module) -> None:
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


@ill("weights-reset-midway", "loss-spike", onset=120, source="Forum: the model is built again within the epoch loop")
def initialized_again_after_120_steps(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10, norm=nn.BatchNorm1d)
    again = at(120, lambda: reset(model)) if fault else at(-1, lambda: None)
    train(writer, model, Adam(model.parameters(), lr=1e-3), pixels(), before_step=again, steps=280)


@ill(
    "weights-reset-midway", "loss-spike", onset=100, source="Forum: a checkpoint without the head is loaded in the loop"
)
def head_lost_with_the_checkpoint(writer: SummaryWriter, fault: bool = True) -> None:
    model = Recurrent(nn.GRU, 48)
    lose = at(100, lambda: nn.init.normal_(model.head.weight, std=2.0)) if fault else at(-1, lambda: None)
    train(writer, model, Adam(model.parameters(), lr=3e-3), rows(), before_step=lose, steps=240)
