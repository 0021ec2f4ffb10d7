"""Losses whose targets are all alike: a residual that is to vanish, the first of many answers, the better of two."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.feedforward import mlp
from tests.zoo.builders.habits import descend
from tests.zoo.builders.loop import examine
from tests.zoo.builders.tasks import vectors
from tests.zoo.registry import healthy


def decay_by_residual(writer: SummaryWriter, *, absolute: bool = False, steps: int = 400) -> None:
    """u' = -u with u(0) = 1, which the form of the answer holds: the residual is compared with zeros."""
    model = mlp(1, 32, 32, 1, activation=nn.Tanh)
    optimizer, criterion = Adam(model.parameters(), 3e-3), nn.SmoothL1Loss() if absolute else nn.MSELoss()
    writer.watch(model, optimizer, criterion=criterion)

    def loss_of(step: int) -> Tensor:
        t = 2 * torch.rand(64, 1, requires_grad=True)
        u = 1 + t * model(t)
        (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        return criterion(slope + u, torch.zeros_like(u))  # type: ignore[no-any-return]

    descend(writer, optimizer, loss_of, steps)
    with torch.no_grad():
        t = torch.linspace(0, 2, 50)[:, None]
        examine("minus the mean error", -(1 + t * model(t) - torch.exp(-t)).abs().mean().item(), -0.05)


def first_of_many(writer: SummaryWriter, *, temperature: float = 0.2, steps: int = 250) -> None:
    """Two views of a sample among the answers of earlier batches (He et al., 2020): the first is the one asked for."""
    data, encoder = vectors(), mlp(64, 96, 32)
    optimizer, criterion = Adam(encoder.parameters(), 2e-3), nn.CrossEntropyLoss()
    writer.watch(encoder, optimizer, criterion=criterion)
    queue = F.normalize(torch.randn(512, 32), dim=1)

    def loss_of(step: int) -> Tensor:
        nonlocal queue
        x, _ = data.batch(torch.randint(len(data), (64,)))
        query = F.normalize(encoder(x + 0.3 * torch.randn_like(x)), dim=1)
        with torch.no_grad():
            key = F.normalize(encoder(x + 0.3 * torch.randn_like(x)), dim=1)
        scores = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], dim=1) / temperature
        queue = torch.cat([queue[64:], key])
        return criterion(scores, torch.zeros(64, dtype=torch.long))  # type: ignore[no-any-return]

    descend(writer, optimizer, loss_of, steps)
    with torch.no_grad():
        told = [F.normalize(encoder(x), dim=1) for x in (data.val_x, data.train_x)]
        nearest = (told[0] @ told[1].T).argmax(1)
        examine("neighbours of one class", (data.train_y[nearest] == data.val_y).float().mean().item(), 0.85)


def better_of_two(writer: SummaryWriter, *, steps: int = 250) -> None:
    """Scores of the better and the worse of two samples (RankNet): that the first is better has probability one."""
    data, model = vectors(), mlp(64, 64, 1)
    optimizer, criterion = Adam(model.parameters(), 2e-3), nn.BCEWithLogitsLoss()
    writer.watch(model, optimizer, criterion=criterion)

    def pairs(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        half = len(x) // 2
        first, second = (x[:half], y[:half]), (x[half : 2 * half], y[half : 2 * half])
        apart, larger = first[1] != second[1], (first[1] > second[1])[:, None]
        return torch.where(larger, first[0], second[0])[apart], torch.where(larger, second[0], first[0])[apart]

    def loss_of(step: int) -> Tensor:
        better, worse = pairs(*data.batch(torch.randint(len(data), (192,))))
        margin = model(better) - model(worse)
        return criterion(margin, torch.ones_like(margin))  # type: ignore[no-any-return]

    descend(writer, optimizer, loss_of, steps)
    with torch.no_grad():
        better, worse = pairs(data.val_x, data.val_y)
        examine("pairs in their order", (model(better) > model(worse)).float().mean().item(), 0.8)


for kind, name, train in (
    ("equations", "equations-residual-and-zeros", decay_by_residual),
    ("equations", "equations-residual-absolute", partial(decay_by_residual, absolute=True)),
    ("pairs", "pairs-first-of-many", first_of_many),
    ("pairs", "pairs-first-of-many-warm", partial(first_of_many, temperature=math.exp(-1))),
    ("pairs", "pairs-better-of-two", better_of_two),
):
    healthy(kind, name, train)
