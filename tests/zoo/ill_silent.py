"""Ill for what the optimizer really holds, adds up and writes: errors that a training survives unnoticed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import descend_scaled, train
from tests.zoo.faulty.networks import Half, Recurrent, Transformer, cnn, mlp
from tests.zoo.faulty.problems import images, pixels, rows
from tests.zoo.registry import ill

ZERO_GRAD = "TrainCheck (OSDI 2025): missing zero_grad; forum: gradients accumulate"
REPLACED = "TrainCheck (OSDI 2025): module replaced after the optimizer was built"


def accumulating(optimizer: Optimizer, *, forget_from: int) -> Any:
    """The usual update, without ``zero_grad`` from a step on."""

    def update(step: int, loss: Tensor) -> None:
        if step < forget_from:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return update


@ill("missing-zero-grad", "stale-gradients", source=ZERO_GRAD)
def sgd_without_zero_grad(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    optimizer = SGD(model.parameters(), lr=0.05)
    update = accumulating(optimizer, forget_from=0) if fault else None
    train(writer, model, optimizer, pixels(), update=update)


@ill("missing-zero-grad", "stale-gradients", source=ZERO_GRAD)
def adam_without_zero_grad(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False)
    optimizer = Adam(model.parameters(), lr=1e-3)
    update = accumulating(optimizer, forget_from=0) if fault else None
    train(writer, model, optimizer, images(), update=update)


@ill("missing-zero-grad", "stale-gradients", onset=100, source=ZERO_GRAD)
def zero_grad_lost_with_the_warm_up(writer: SummaryWriter, fault: bool = True) -> None:
    model = Recurrent(nn.GRU, 48)
    optimizer = SGD(model.parameters(), lr=0.3)
    update = accumulating(optimizer, forget_from=100) if fault else None
    train(writer, model, optimizer, rows(), update=update, steps=220)


@ill("module-replaced", "optimizer-misses-parameters", subject="4*", source=REPLACED)
def head_for_the_right_number_of_classes(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 24, 24, 5, activation=nn.Tanh)
    if not fault:
        model[4] = nn.Linear(24, 10)
    optimizer = Adam(model.parameters(), lr=1e-3)
    if fault:
        model[4] = nn.Linear(24, 10)
    train(writer, model, optimizer, pixels())


@ill("module-replaced", "optimizer-misses-parameters", subject="[03]*", source=REPLACED)
def stem_adapted_to_one_channel(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((4, 8))
    optimizer = SGD(model.parameters(), lr=2e-3, momentum=0.9)
    if fault:
        model[0] = nn.Conv2d(1, 4, 3, padding=1)
        model[3] = nn.Conv2d(4, 8, 3, padding=1)
    train(writer, model, optimizer, images())


@ill(
    "module-replaced",
    "optimizer-misses-parameters",
    subject="position*",
    onset=60,
    source="Forum: a parameter is created anew in the loop",
)
def embedding_enlarged_midway(writer: SummaryWriter, fault: bool = True) -> None:
    model = Transformer(depth=1)
    optimizer = AdamW(model.parameters(), lr=2e-3)

    def enlarge(step: int) -> None:
        if fault and step == 60:
            model.position = nn.Parameter(0.5 * torch.randn_like(model.position))

    train(writer, model, optimizer, rows(), before_step=enlarge, steps=180)


AUTOCAST = "TrainCheck (OSDI 2025): autocast not applied, scaler used"


@ill("autocast-not-applied", "low-precision-range", "loss-scale-collapse", source=AUTOCAST)
def scaler_without_autocast(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 128, 128, 10) if fault else Half(mlp(64, 128, 128, 10), torch.float16)
    optimizer, scaler = Adam(model.parameters(), lr=1e-3), torch.amp.GradScaler("cpu")
    train(writer, model, optimizer, pixels(), update=descend_scaled(optimizer, scaler), scaler=scaler)


@ill("autocast-not-applied", "low-precision-range", "loss-scale-collapse", source=AUTOCAST)
def convolutions_scaled_without_autocast(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16)) if fault else Half(cnn((8, 16)), torch.float16)
    optimizer, scaler = SGD(model.parameters(), lr=0.02, momentum=0.9), torch.amp.GradScaler("cpu")
    train(writer, model, optimizer, images(), update=descend_scaled(optimizer, scaler), scaler=scaler)
