"""Ill and healthy twins for the rules on spikes, stale gradients, shifts, scales, runaway growth and low precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext

import torch
from tb_nnhealth.demo.data import digits
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter

from .fit import fit, initialize, mlp
from .registry import healthy, pair


def adam(model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=lr)


@pair("gradient-spike", onset=(120, 120))
def one_batch_in_another_unit(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 10)

    def batch(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return (16 * x if ill and step == 120 else x), y

    fit(writer, model, adam(model), flat=True, batch=batch, every=1, steps=160)


@pair("stale-gradients", onset=(1, 2))
def zero_grad_forgotten(writer: SummaryWriter, ill: bool) -> None:
    data, model, criterion = digits(), mlp(64, 64, 10), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(200):
        chosen = torch.randint(len(data.train_x), (64,))
        if not ill:
            optimizer.zero_grad()
        loss = criterion(model(data.train_x[chosen].flatten(1)), data.train_y[chosen])
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), step)


@healthy
def gradients_cleared_by_hand_and_accumulated(writer: SummaryWriter) -> None:
    """``zero_grad`` is never called: three batches' gradients make a step, and then each is set to None."""
    data, model, criterion = digits(), mlp(64, 64, 10), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(360):
        chosen = torch.randint(len(data.train_x), (32,))
        loss = criterion(model(data.train_x[chosen].flatten(1)), data.train_y[chosen])
        (loss / 3).backward()
        writer.add_scalar("loss/train", loss.item(), step)
        if step % 3 == 2:
            optimizer.step()
            for parameter in model.parameters():
                parameter.grad = None


@pair("activation-mean-shift", subject="[024]", first=False)
def hidden_biases_that_start_at_twelve(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 64, 10, activation=nn.ELU)
    for i in (0, 2, 4) if ill else ():
        nn.init.constant_(model[i].bias, 12.0)  # type: ignore[arg-type]
    fit(writer, model, adam(model), flat=True)


class OverRows(nn.Module):
    """Reads an image row by row, then takes the mean: over the rows, or by mistake over the batch."""

    def __init__(self, ill: bool) -> None:
        super().__init__()
        self.row, self.head, self.ill = mlp(8, 48, 48), nn.Linear(48, 10), ill

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.row(x.squeeze(1)))
        mean = h.mean((0, 1), keepdim=True).expand(len(h), 1, -1) if self.ill else h.mean(1, keepdim=True)
        return self.head(mean.squeeze(1))


@pair("constant-output")
def mean_over_the_batch(writer: SummaryWriter, ill: bool) -> None:
    model = OverRows(ill)
    fit(writer, model, adam(model, 3e-3), steps=300)


@pair("poor-init-scale", subject="[0-8]*")
def standard_normal_weights(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 128, 128, 128, 128, 10)
    initialize(model, nn.init.normal_ if ill else nn.init.kaiming_normal_)
    fit(writer, model, torch.optim.SGD(model.parameters(), lr=1e-2), flat=True)


def decayed_by_hand(parameters: Iterable[nn.Parameter], rate: float) -> Callable[[int], None]:
    """Adds weight decay to the gradients, after the backward pass; with a negative rate the weights are driven out."""
    chosen = list(parameters)

    def after_backward(step: int) -> None:
        for parameter in chosen:
            assert parameter.grad is not None
            parameter.grad.add_(parameter.detach(), alpha=rate)

    return after_backward


@pair("diverging-weights", onset=(0, 80), first=False)
def weight_decay_of_the_wrong_sign(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 10, activation=nn.Tanh)
    decay = decayed_by_hand([p for p in model.parameters() if p.dim() > 1], -1.0 if ill else 1e-3)
    fit(writer, model, torch.optim.SGD(model.parameters(), lr=0.05), flat=True, after_backward=decay, every=2)


@pair("diverging-bias", subject="4.bias", onset=(0, 120), first=False)
def weight_decay_of_the_wrong_sign_on_the_last_bias(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 10)
    decay = decayed_by_hand([model[4].bias], -1.0 if ill else 1e-3)  # type: ignore[list-item]
    fit(writer, model, torch.optim.SGD(model.parameters(), lr=0.05), flat=True, after_backward=decay, every=2)


@pair("non-gaussian-weights", subject="2.weight", onset=(0, 400))
def a_few_huge_weights(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 10)
    if ill:
        with torch.no_grad():
            model[2].weight.view(-1)[::512] *= 40  # type: ignore[operator, union-attr]
    fit(writer, model, adam(model), flat=True, every=1, steps=350)


@pair("noisy-first-layer", subject="0.weight", onset=(0, 2000), first=False)
def first_filters_that_hardly_learn(writer: SummaryWriter, ill: bool) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 16, 10)
    )  # fmt: skip
    first = {"params": model[0].parameters(), "lr": 1e-6 if ill else 3e-3}
    optimizer = torch.optim.AdamW([first, {"params": model[4].parameters()}], lr=3e-3, weight_decay=0.1)
    fit(writer, model, optimizer, steps=1200, batch_size=32)


def scaled(
    writer: SummaryWriter,
    model: nn.Module,
    context: Callable[[], torch.autocast | nullcontext[None]],
    *,
    steps: int = 150,
    weight: float = 1.0,
) -> None:
    """Trains on the digits with a gradient scaler, forward and loss, times ``weight``, within ``context``."""
    data, criterion, optimizer = digits(), nn.CrossEntropyLoss(), adam(model)
    scaler = torch.amp.GradScaler("cpu")
    writer.watch(model, optimizer, criterion=criterion, scaler=scaler)
    for step in range(steps):
        chosen = torch.randint(len(data.train_x), (64,))
        optimizer.zero_grad()
        with context():
            loss = criterion(model(data.train_x[chosen].flatten(1)), data.train_y[chosen])
        scaler.scale(weight * loss).backward()
        scaler.step(optimizer)
        scaler.update()
        writer.add_scalar("loss/train", loss.item(), step)


def in_float16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.float16)


@pair("low-precision-range")
def scaler_whose_autocast_was_lost(writer: SummaryWriter, ill: bool) -> None:
    scaled(writer, mlp(64, 64, 64, 10), nullcontext if ill else in_float16)


@pair("loss-scale-collapse", onset=(0, 30), first=False)
def loss_far_beyond_float16(writer: SummaryWriter, ill: bool) -> None:
    scaled(writer, mlp(64, 64, 10), in_float16, weight=1e8 if ill else 1.0)


@healthy
def mixed_precision_in_float16(writer: SummaryWriter) -> None:
    model = mlp(64, 96, 96, 10, activation=nn.GELU)
    scaled(writer, model, in_float16, steps=250)


@healthy
def weights_in_bfloat16(writer: SummaryWriter) -> None:
    """All numbers in bfloat16, with steps that are large enough for it."""
    model = mlp(64, 96, 10).to(torch.bfloat16)
    fit(
        writer, model, adam(model, 3e-3), flat=True, steps=250,
        batch=lambda step, x, y: (x.to(torch.bfloat16), y),
    )  # fmt: skip


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * x)


@healthy
def sinusoidal_network_with_tiny_weights(writer: SummaryWriter) -> None:
    """Weights a thirtieth of the usual, for each is multiplied by 30 before its sine (SIREN)."""
    data, model = digits(), nn.Sequential(nn.Linear(64, 64), Sine(), nn.Linear(64, 64), Sine(), nn.Linear(64, 10))
    for i in (0, 2):
        bound = 1 / 64 if i == 0 else (6 / 64) ** 0.5 / 30
        nn.init.uniform_(model[i].weight, -bound, bound)  # type: ignore[arg-type]
        nn.init.zeros_(model[i].bias)  # type: ignore[arg-type]
    fit(writer, model, adam(model, 3e-4), data=data, flat=True, steps=300)
