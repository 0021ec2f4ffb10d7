"""Networks trained before, in part frozen, pruned, or adapted by a few parameters."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from tests.zoo.builders.feedforward import mlp
from tests.zoo.builders.tasks import Task


def pretrained(model: nn.Module, task: Task, *, steps: int = 120, lr: float = 2e-3, below: int = 10) -> nn.Module:
    """``model`` after a training of its own, on the classes below ``below``, which nobody watched."""
    optimizer, criterion = torch.optim.Adam(model.parameters(), lr), task.criterion()
    known = (task.train_y < below).nonzero()[:, 0]
    for _ in range(steps):
        x, y = task.batch(known[torch.randint(len(known), (64,))])
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    return model


class LowRank(nn.Module):
    """A frozen linear layer beside a trained product of two small matrices, of which the second starts at zero."""

    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(rank, base.in_features) / math.sqrt(base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 2 * (x @ self.a.T) @ self.b.T


def low_rank(model: nn.Sequential) -> nn.Sequential:
    return nn.Sequential(*(LowRank(layer) if isinstance(layer, nn.Linear) else layer for layer in model))


def frozen_but_last(model: nn.Sequential, head: nn.Module) -> nn.Sequential:
    """A new head on a frozen body, which stays in evaluation mode as its normalization must not move."""
    body = model[:-1].requires_grad_(False).eval()
    body.train = lambda mode=True: body  # type: ignore[method-assign, assignment]
    return nn.Sequential(body, head)


def biases_alone(model: nn.Module) -> nn.Module:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
    return model


def pruned(model: nn.Sequential, amount: float = 0.6) -> nn.Sequential:
    """The smallest weights are masked and stay zero."""
    for layer in list(model)[:-1]:
        if isinstance(layer, nn.Linear):
            prune.l1_unstructured(layer, "weight", amount)
    return model


def weight_normalized(*widths: int) -> nn.Sequential:
    return nn.Sequential(*(parametrizations.weight_norm(m) if isinstance(m, nn.Linear) else m for m in mlp(*widths)))


class Twins(nn.Module):
    """One encoder for both members of a pair; the answer is the pair of embeddings."""

    def __init__(self, *, normalized: bool = True, norm: bool = False) -> None:
        super().__init__()
        self.encoder = mlp(64, 64, 24, norm=nn.BatchNorm1d if norm else None)
        self.normalized = normalized

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        a, b = self.encoder(pair[0]), self.encoder(pair[1])
        if self.normalized:
            a, b = nn.functional.normalize(a, dim=1), nn.functional.normalize(b, dim=1)
        return torch.stack([a, b], 1)


class Contrast(nn.Module):
    """Each sample shall recognize its partner among the batch's; the targets are not looked at."""

    temperature = 0.2

    def forward(self, pairs: Tensor, _: Tensor) -> Tensor:
        near = pairs[:, 0] @ pairs[:, 1].T / self.temperature
        own = torch.arange(len(near))
        return (nn.functional.cross_entropy(near, own) + nn.functional.cross_entropy(near.T, own)) / 2


class Margin(nn.Module):
    """Partners of one class close, others at least ``margin`` apart; targets are 1 for one class, else 0."""

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, pairs: Tensor, same: Tensor) -> Tensor:
        distance = (pairs[:, 0] - pairs[:, 1]).square().sum(1).add(1e-6).sqrt()
        apart = (self.margin - distance).clamp_min(0)
        return (same * distance.square() + (1 - same) * apart.square()).mean()


def recognized(pairs: Tensor, _: Tensor) -> float:
    """Share that find their partner among the nearest five."""
    near = pairs[:, 0] @ pairs[:, 1].T
    own = near.diagonal()[:, None]
    return ((near > own).sum(1) < 5).float().mean().item()


def told_apart(pairs: Tensor, same: Tensor) -> float:
    distance = (pairs[:, 0] - pairs[:, 1]).norm(dim=1)
    return ((distance < 0.5) == (same > 0.5)).float().mean().item()


def pairs_of(task: Task, *, labelled: bool) -> Task:
    """Two noisy views of a sample; or, where ``labelled``, two samples, half of the time of one class."""
    generator = torch.Generator().manual_seed(4)

    def make(x: Tensor, y: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        if not labelled:
            views = [x + 0.4 * torch.randn(x.shape, generator=generator) for _ in range(2)]
            return (views[0], views[1]), y
        order = torch.randperm(len(x), generator=generator)
        for i in range(0, len(x), 2):
            alike = (y == y[i]).nonzero()[:, 0]
            order[i] = alike[torch.randint(len(alike), (1,), generator=generator)]
        return (x, x[order]), (y == y[order]).float()

    (train_x, train_y), (val_x, val_y) = make(task.train_x, task.train_y), make(task.val_x, task.val_y)
    criterion, score, good = (Margin, told_apart, 0.8) if labelled else (Contrast, recognized, 0.8)
    return Task(train_x, train_y, val_x, val_y, criterion, score, good)


same_class = partial(pairs_of, labelled=True)
two_views = partial(pairs_of, labelled=False)
