"""Ill and healthy twins for the rules on loss, data and set-up."""

from __future__ import annotations

import torch
from tb_nnhealth.demo.data import Digits, digits
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter

from .fit import fit, mlp
from .registry import pair


@pair("initial-loss-off", first=False)
def head_with_far_too_large_weights(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 10)
    if ill:
        nn.init.normal_(model[2].weight, std=8.0)  # type: ignore[arg-type]
    fit(writer, model, torch.optim.Adam(model.parameters(), lr=1e-3), flat=True)


@pair("loss-not-decreasing", subject="loss*", onset=(0, 400))
def labels_drawn_at_random(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 32, 10)
    generator = torch.Generator().manual_seed(2)

    def batch(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x, (torch.randint(10, y.shape, generator=generator) if ill else y)

    fit(writer, model, torch.optim.Adam(model.parameters(), lr=1e-3), flat=True, batch=batch, steps=400)


@pair("loss-diverging", subject="loss*", onset=(60, 200), first=False)
def learning_rate_that_keeps_growing(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 32, 10, activation=nn.Tanh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def before_step(step: int) -> None:
        if ill and step > 80:
            optimizer.param_groups[0]["lr"] = min(60.0, 0.05 * 1.1 ** (step - 80))

    fit(writer, model, optimizer, flat=True, steps=300, before_step=before_step)


@pair("overfitting", subject="loss/val", onset=(20, 900), first=False)
def forty_samples(writer: SummaryWriter, ill: bool) -> None:
    data = digits()
    if ill:
        data = Digits(data.train_x[:40], data.train_y[:40], data.val_x, data.val_y)
    model = mlp(64, 128, 128, 10)
    fit(
        writer, model, torch.optim.Adam(model.parameters(), lr=1e-3),
        data=data, flat=True, steps=1200 if ill else 300, batch_size=20 if ill else 64, validate_every=10,
    )  # fmt: skip


@pair("unnormalized-input")
def pixels_from_0_to_255(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 10)

    def batch(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return ((x - x.min()) / (x.max() - x.min()) * 255 if ill else x), y

    fit(writer, model, torch.optim.Adam(model.parameters(), lr=1e-3), flat=True, batch=batch)


@pair("softmax-before-cross-entropy")
def softmax_twice(writer: SummaryWriter, ill: bool) -> None:
    model = nn.Sequential(*mlp(64, 64, 10), *([nn.Softmax(dim=1)] if ill else []))
    fit(writer, model, torch.optim.Adam(model.parameters(), lr=1e-3), flat=True)


@pair("wrong-mode", onset=(38, 60))
def train_mode_forgotten_after_validation(writer: SummaryWriter, ill: bool) -> None:
    model = nn.Sequential(
        nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 64), nn.ReLU(),
        nn.Dropout(0.3), nn.Linear(64, 10),
    )  # fmt: skip
    fit(
        writer, model, torch.optim.Adam(model.parameters(), lr=1e-3),
        flat=True, validate_every=40, train_mode_again=not ill,
    )  # fmt: skip
