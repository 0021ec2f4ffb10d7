"""Ill for their tensors, from the first weights to activations that no longer move."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import at, descend, train
from tests.zoo.faulty.networks import HandWritten, Recurrent, Transformer, cnn, initialize, mlp, normal
from tests.zoo.faulty.problems import Problem, diabetes, images, ink, pixels, rows
from tests.zoo.registry import ill

POSITIVE = "Forum: weights drawn by np.random.rand; DeepCrime (ISSTA 2021), WCI"
PLAIN = "He et al. (2015); forum: a deep plain network in the default initialization does not train"
DEAD = "37 Reasons, 33; TheDeepChecker (TOSEM 2023): dead ReLU; CS231n: dying ReLU"
BOUNDED = "Forum: tanh or sigmoid output for unscaled regression targets; TheDeepChecker: saturated output activation"
SIGN = "TheDeepChecker (TOSEM 2023): unstable parameters; DeepCrime, RCW: change weights regularisation"


@ill("positive-initialization", "poor-init-scale", "exploding-activations", "activation-mean-shift", source=POSITIVE)
def uniform_weights_from_0_to_1(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 64, 10)
    initialize(model, nn.init.uniform_ if fault else nn.init.xavier_uniform_)
    train(writer, model, Adam(model.parameters(), lr=1e-3), pixels())


@ill("positive-initialization", "poor-init-scale", "exploding-activations", "activation-mean-shift", source=POSITIVE)
def kernels_of_random_numbers_from_0_to_1(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 8, 8), norm=False, activation=nn.ELU)
    initialize(model, nn.init.uniform_ if fault else nn.init.kaiming_uniform_, nn.init.zeros_)
    train(writer, model, SGD(model.parameters(), lr=0.01, momentum=0.9), images(), steps=150)


@ill("deep-and-plain", "vanishing-activations", "poor-init-scale", "vanishing-gradients", "slow-start", source=PLAIN)
def sixteen_linear_layers_by_default(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, *[48] * 16, 10, norm=None if fault else nn.BatchNorm1d)
    train(writer, model, SGD(model.parameters(), lr=0.05, momentum=0.9), pixels(), steps=150)


@ill("deep-and-plain", "vanishing-activations", "poor-init-scale", "vanishing-gradients", "slow-start", source=PLAIN)
def ten_convolutions_by_default(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8,) * 10, norm=not fault)
    train(writer, model, SGD(model.parameters(), lr=0.05), images(), steps=120)


@ill("dead-by-bias", "dead-units", subject="[23]", source=DEAD)
def biases_of_minus_thirty(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 24, 10)
    if fault:
        nn.init.constant_(model[2].bias[:21], -30.0)  # type: ignore[arg-type, index]
    train(writer, model, SGD(model.parameters(), lr=0.05, momentum=0.9), pixels())


@ill("dead-by-bias", "dead-units", subject="[23]", onset=70, source=DEAD)
def channels_silenced_midway(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False)

    def silence() -> None:
        with torch.no_grad():
            model[2].bias.sub_(25.0)  # type: ignore[union-attr, operator]

    step = 70 if fault else -1
    train(writer, model, Adam(model.parameters(), lr=1e-3), images(), before_step=at(step, silence), steps=220)


def in_units(data: Problem, scale: float, offset: float) -> Problem:
    return Problem(data.train_x, data.train_y * scale + offset, data.val_x, data.val_y * scale + offset, data.criterion)


@ill("bounded-output", "saturated-units", "constant-output", source=BOUNDED)
def tanh_output_for_targets_up_to_three_hundred(writer: SummaryWriter, fault: bool = True) -> None:
    model = nn.Sequential(*mlp(10, 32, 32, 1), *([nn.Tanh()] if fault else []))
    data = in_units(diabetes(), 77.0, 152.0) if fault else diabetes()
    train(writer, model, Adam(model.parameters(), lr=3e-3), data, batch_size=32, steps=300)


@ill("bounded-output", "saturated-units", "constant-output", source=BOUNDED)
def sigmoid_output_for_targets_in_percent(writer: SummaryWriter, fault: bool = True) -> None:
    model = nn.Sequential(*mlp(10, 48, 1, activation=nn.Tanh), nn.Sigmoid() if fault else nn.Identity())
    data = in_units(diabetes(), 20.0, 50.0) if fault else diabetes()
    train(writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), data, batch_size=32, steps=300)


def penalty(model: nn.Module, strength: float) -> Tensor:
    return strength * torch.stack([p.square().sum() for p in model.parameters() if p.dim() > 1]).sum()


@ill("penalty-of-the-wrong-sign", "diverging-weights", source=SIGN)
def weights_rewarded_in_an_mlp(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    optimizer = SGD(model.parameters(), lr=0.05)
    update = descend(optimizer)
    train(
        writer, model, optimizer, pixels(), steps=250,
        update=lambda step, loss: update(step, loss + penalty(model, -0.2 if fault else 1e-4)),
    )  # fmt: skip


@ill("penalty-of-the-wrong-sign", "diverging-weights", onset=60, source=SIGN)
def weights_rewarded_after_a_change_of_schedule(writer: SummaryWriter, fault: bool = True) -> None:
    model = Recurrent(nn.GRU, 32)
    optimizer = Adam(model.parameters(), lr=3e-3)
    update = descend(optimizer)

    def penalized(step: int, loss: Tensor) -> None:
        update(step, loss + penalty(model, -0.05 if fault and step >= 60 else 1e-4))

    train(writer, model, optimizer, rows(), update=penalized, steps=260)


@ill(
    "unscaled-attention",
    "saturated-units",
    "exploding-activations",
    source="Vaswani et al. (2017), 3.2.1; sigma-Reparam (2023)",
)
def products_without_the_root_of_the_width(writer: SummaryWriter, fault: bool = True) -> None:
    model = Transformer(width=64, scale=1.0 if fault else None)
    for attention in model.attentions:
        for layer in (attention.query, attention.key):
            nn.init.normal_(layer.weight, std=0.5 if fault else 0.125)  # type: ignore[union-attr, arg-type]
    train(writer, model, AdamW(model.parameters(), lr=1e-3), rows(), steps=120)


@ill(
    "unscaled-attention",
    "saturated-units",
    "exploding-activations",
    source="Vaswani et al. (2017), 3.2.1; sigma-Reparam (2023)",
)
def products_multiplied_by_the_width(writer: SummaryWriter, fault: bool = True) -> None:
    model = Transformer(width=32, depth=1, scale=32.0 if fault else None)
    train(writer, model, Adam(model.parameters(), lr=2e-3), rows(), steps=180)


@ill(
    "initialization-saturates",
    "poor-init-scale",
    "saturated-units",
    source="CS231n, neural-networks-2 and lecture 6",
)
def tanh_layers_of_unit_normal_weights(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 64, 64, 10, activation=nn.Tanh)
    initialize(model, normal(1.0) if fault else nn.init.xavier_normal_)
    train(writer, model, SGD(model.parameters(), lr=0.02), pixels())


@ill(
    "initialization-saturates",
    "poor-init-scale",
    "saturated-units",
    source="CS231n, neural-networks-2 and lecture 6",
)
def sigmoid_layers_of_wide_weights(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10, activation=nn.Sigmoid)
    if fault:
        initialize(model, normal(3.0))
    train(writer, model, RMSprop(model.parameters(), lr=1e-3), pixels())


@ill(
    "initialization-saturates",
    "poor-init-scale",
    "saturated-units",
    source="TheDeepChecker (TOSEM 2023): saturated activation",
)
def tanh_recurrence_of_large_weights(writer: SummaryWriter, fault: bool = True) -> None:
    model = HandWritten(3.0 if fault else 1.0, activation=nn.Tanh(), repeats=1)
    if fault:
        nn.init.normal_(model.into.weight, std=1.5)
    train(writer, model, SGD(model.parameters(), lr=0.05), rows())


@ill(
    "relu-on-the-output",
    "dead-units",
    "constant-output",
    source="DeepCrime (ISSTA 2021), AAL: add activation function to layer",
)
def relu_on_standardized_regression(writer: SummaryWriter, fault: bool = True) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(*mlp(10, 32, 32, 1), *([nn.ReLU()] if fault else []))
    if fault:
        nn.init.constant_(model[4].bias, -0.3)  # type: ignore[arg-type]
    train(writer, model, Adam(model.parameters(), lr=2e-3), diabetes(), batch_size=32, steps=300)


@ill(
    "relu-on-the-output",
    "dead-units",
    "constant-output",
    source="DeepCrime (ISSTA 2021), AAL: add activation function to layer",
)
def relu_on_a_standardized_amount_of_ink(writer: SummaryWriter, fault: bool = True) -> None:
    model = nn.Sequential(*cnn((8, 16), outputs=1), *([nn.ReLU()] if fault else []))
    if fault:
        nn.init.constant_(model[-2].bias, -1.0)  # type: ignore[arg-type]
    train(writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), ink(), steps=200)
