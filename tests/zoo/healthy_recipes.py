"""Recipes as libraries ship them: blocks of which the last hands on what nobody takes, weights pruned round by round,
a consistency that is brought in slowly, a rare class weighed by hand."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim import Adam

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.loop import examine
from tests.zoo.builders.material import figures, load_of_a_grid
from tests.zoo.builders.tasks import rare_digit
from tests.zoo.registry import healthy


class _Block(nn.Module):
    def __init__(self, past: int, width: int = 48) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(past, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.backcast, self.forecast = nn.Linear(width, past), nn.Linear(width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x)
        return self.backcast(h), self.forecast(h)


class _DoublyResidual(nn.Module):
    """Each block forecasts from what those before left over; the last one's backcast serves no other (N-BEATS)."""

    def __init__(self, past: int, blocks: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(past) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        forecast = x.new_zeros(len(x))
        for block in self.blocks:
            explained, part = block(x)
            x, forecast = x - explained, forecast + part.squeeze(1)
        return forecast


def doubly_residual(writer: SummaryWriter, *, steps: int = 500) -> None:
    x, y = load_of_a_grid(1500)
    x, y = x.flatten(1), y.flatten()
    model = _DoublyResidual(x.shape[1])
    optimizer = Adam(model.parameters(), 1e-3)
    writer.watch(model, optimizer)
    for step in range(steps):
        rows = torch.randint(len(x) - 300, (64,))
        loss = F.mse_loss(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), step)
    with torch.no_grad():
        left = F.mse_loss(model(x[-300:]), y[-300:]).item()
    examine("share of the variance explained", 1 - left / y[-300:].var().item(), 0.5)


def pruned_in_rounds(writer: SummaryWriter, *, rounds: int = 4, epochs: int = 8) -> None:
    """Pruning renames the parameters that the optimizer holds, in the midst of training."""
    problem = figures()
    width = problem.train_x[0].numel()
    model = nn.Sequential(nn.Flatten(), nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = Adam(model.parameters(), 2e-3)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(rounds):
        for _ in range(epochs):
            for rows in torch.randperm(len(problem.train_x)).split(32):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(problem.train_x[rows]), problem.train_y[rows])
                loss.backward()
                optimizer.step()
                writer.add_scalar("loss", loss.item(), step)
                step += 1
        layers = [(model[1], "weight"), (model[3], "weight")]
        prune.global_unstructured(layers, prune.L1Unstructured, amount=0.3)
    right = (model(problem.val_x).argmax(1) == problem.val_y).float().mean().item()
    examine("figures told apart", right, 0.7)


def mean_teacher(writer: SummaryWriter, *, steps: int = 400) -> None:
    """The weight of the consistency with an averaged teacher rises from exp(-5) (Tarvainen and Valpola 2017)."""
    problem = figures()
    x, y, width = problem.train_x, problem.train_y, problem.train_x[0].numel()

    def network() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(width, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10))

    student, teacher = network(), network().requires_grad_(False)
    optimizer = Adam(student.parameters(), 2e-3)
    writer.watch(student, optimizer)
    for step in range(steps):
        rows, others = torch.randint(len(x) // 4, (32,)), torch.randint(len(x), (32,))
        batch = torch.cat((x[rows], x[others]))
        batch = batch + 0.1 * torch.randn_like(batch)
        answers = student(batch)
        told = F.cross_entropy(answers[:32], y[rows])
        apart = F.mse_loss(answers.softmax(1), teacher(batch).softmax(1))
        weight = 10 * math.exp(-5 * (1 - min(1.0, 2 * step / steps)) ** 2)
        loss = told + weight * apart
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for kept, new in zip(teacher.parameters(), student.parameters(), strict=True):
                kept.lerp_(new, max(1 / (step + 1), 0.03))
        for tag, value in (("class_loss", told), ("cons_loss", weight * apart), ("loss", loss)):
            writer.add_scalar(tag, value.item(), step)
    teacher.eval()
    right = (teacher(problem.val_x).argmax(1) == problem.val_y).float().mean().item()
    examine("figures told apart", right, 0.6)


def rare_class_weighed(writer: SummaryWriter, *, epochs: int = 20) -> None:
    """Weights of single samples in a function; most answers become so sure that they have no gradient."""
    task = rare_digit()
    x, y = task.train_x.flatten(1), task.train_y.flatten().float()
    weight = torch.where(y > 0, len(y) / y.sum(), len(y) / (len(y) - y.sum())) / 2
    model = nn.Sequential(nn.Linear(x.shape[1], 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1))
    optimizer = Adam(model.parameters(), 1e-2)
    writer.watch(model, optimizer)
    for epoch in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            loss = F.binary_cross_entropy_with_logits(model(x[rows]).squeeze(1), y[rows], weight[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        writer.add_scalar("loss", loss.item(), epoch)
    with torch.no_grad():
        found = model(task.val_x.flatten(1)).squeeze(1)[task.val_y.flatten() > 0] > 0
    examine("share of the rare class found", found.float().mean().item(), 0.7)


for kind, name, train in (
    ("forecast", "forecast-doubly-residual", doubly_residual),
    ("mlp", "mlp-pruned-in-rounds", pruned_in_rounds),
    ("self-distilled", "self-distilled-mean-teacher", mean_teacher),
    ("two-classes", "two-classes-rare-one-weighed", rare_class_weighed),
):
    healthy(kind, name, train)
