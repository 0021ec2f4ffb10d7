"""Ill and healthy twins for the rules on the shape of the loss and on metrics."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from tb_nnhealth.demo.data import digits
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter

from .fit import fit, initialize, mlp
from .registry import pair


@pair("loss-spike", subject="loss*", onset=(140, 175), first=False)
def a_burst_of_broken_batches(writer: SummaryWriter, ill: bool) -> None:
    """Three batches in the wrong unit carry the weights away; they come back within some dozens of steps."""
    model = mlp(64, 64, 64, 10)

    def batch(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return (40 * x if ill and 150 <= step < 153 else x), y

    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    fit(writer, model, optimizer, flat=True, batch=batch, steps=400, every=1)


@pair("loss-oscillating", subject="loss*", onset=(150, 500), first=False)
def momentum_that_is_never_lost(writer: SummaryWriter, ill: bool) -> None:
    """Gradient descent on the whole data: the weights roll through the valley and up its other side."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 1, generator=generator)
    y = 2 * x + 1 + 0.1 * torch.randn(200, 1, generator=generator)
    model, criterion = nn.Linear(1, 1), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9995 if ill else 0.9)
    writer.watch(model, optimizer, criterion=criterion, every=1)
    for step in range(500):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), step)


@pair("slow-start", subject="loss*", first=False)
def tanh_layers_of_tiny_weights(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 10, activation=nn.Tanh)
    if ill:
        initialize(model, lambda weight: nn.init.normal_(weight, std=0.01))
    fit(writer, model, torch.optim.SGD(model.parameters(), lr=0.15), flat=True, steps=300, every=1)


@pair("early-lr-decay", subject="loss*", onset=(30, 50))
def milestones_counted_in_steps(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def before_step(step: int) -> None:
        optimizer.param_groups[0]["lr"] = 0.1 if step < (40 if ill else 320) else 1e-3

    fit(writer, model, optimizer, flat=True, before_step=before_step, steps=400, every=1)


@pair("learning-rate-too-high", subject="loss*", first=False)
def adam_at_a_tenth(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 10)
    fit(writer, model, torch.optim.Adam(model.parameters(), lr=0.1 if ill else 1e-3), flat=True, steps=300, every=1)


@pair("learning-rate-too-low", subject="loss*", first=False)
def adam_at_1e_5(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 10, activation=nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5 if ill else 1e-3)
    fit(writer, model, optimizer, flat=True, steps=300, every=1)


@pair("underfitting", subject="loss*", onset=(0, 1200))
def one_hidden_unit(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 1 if ill else 48, 10)
    fit(
        writer, model, torch.optim.Adam(model.parameters(), lr=4e-3),
        flat=True, steps=900, validate_every=20, every=2,
    )  # fmt: skip


@pair("over-regularized", subject="loss*")
def weight_decay_of_a_third(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.3 if ill else 1e-4)
    fit(writer, model, optimizer, flat=True, steps=300, every=1)


@pair("loss-term-imbalance", subject="loss/classes")
def a_regression_that_drowns_the_classes(writer: SummaryWriter, ill: bool) -> None:
    """Amounts of ink in hundredths of a pixel beside the ten classes, in one sum."""
    data, model = digits(), mlp(64, 64, 11)
    optimizer = torch.optim.SGD(model.parameters(), lr=2e-2)
    writer.watch(model, optimizer, every=1)
    generator = torch.Generator().manual_seed(1)
    for step in range(300):
        chosen = torch.randint(len(data.train_x), (64,), generator=generator)
        x, y = data.train_x[chosen].flatten(1), data.train_y[chosen]
        optimizer.zero_grad()
        outputs = model(x)
        classes = (2e-5 if ill else 1.0) * F.cross_entropy(outputs[:, :10], y)
        ink = F.mse_loss(outputs[:, 10], x.abs().mean(1))
        (classes + ink).backward()
        optimizer.step()
        writer.add_scalar("loss/total", (classes + ink).item(), step)
        writer.add_scalar("loss/classes", classes.item(), step)
        writer.add_scalar("loss/ink", ink.item(), step)


@pair("prediction-jitter", subject="probe", onset=(0, 300), first=False)
def answers_that_jump(writer: SummaryWriter, ill: bool) -> None:
    """Dropout is alive while the fixed batch is looked at."""
    data, criterion = digits(), nn.CrossEntropyLoss()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    watch = writer.watch(model, optimizer, criterion=criterion, every=1)
    generator = torch.Generator().manual_seed(1)
    fixed = data.val_x[:64].flatten(1)
    for step in range(200):
        chosen = torch.randint(len(data.train_x), (32,), generator=generator)
        optimizer.zero_grad()
        loss = criterion(model(data.train_x[chosen].flatten(1)), data.train_y[chosen])
        loss.backward()
        model.train(ill)
        with torch.no_grad():
            watch.observe(probe=model(fixed))
        model.train()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), step)


@pair("still-improving", subject="loss*", onset=(30, 80))
def stopped_after_three_epochs(writer: SummaryWriter, ill: bool) -> None:
    model = mlp(64, 64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    fit(writer, model, optimizer, flat=True, steps=70 if ill else 600, every=1)
