"""Quantiles, mixtures, counts, order: losses whose level says little."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.builders.family import Family
from tests.zoo.builders.feedforward import mlp
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import Task, split


class Pinball(nn.Module):
    """Mean pinball loss of three quantiles."""

    def forward(self, told: Tensor, y: Tensor) -> Tensor:
        levels = torch.tensor([0.1, 0.5, 0.9], dtype=told.dtype)
        error = y - told
        return torch.maximum(levels * error, (levels - 1) * error).mean()


def covered(told: Tensor, y: Tensor) -> float:
    """1 where the outer quantiles hold four fifths of the targets."""
    inside = (y[:, 0] > told[:, 0]) & (y[:, 0] < told[:, 2])
    return 1 - abs(inside.float().mean().item() - 0.8)


@cache
def spread() -> Task:
    """Targets whose noise grows with one of four variables."""
    generator = torch.Generator().manual_seed(31)
    x = torch.randn(2400, 4, generator=generator)
    noise = (0.2 + 0.5 * x[:, 2:3].abs()) * torch.randn(2400, 1, generator=generator)
    y = torch.sin(x[:, :1]) + 0.5 * x[:, 1:2] + noise
    return split(x, y / y.std(), 400, criterion=Pinball, score=covered, good=0.9)


quantiles = Family("quantiles", lambda: mlp(4, 48, 48, 3), spread, Recipe(lr=3e-3, steps=250))
quantiles.specimen("adam")
quantiles.specimen("tanh-nesterov", lambda: mlp(4, 48, 3, activation=nn.Tanh), optimizer="nesterov", lr=0.05)
quantiles.specimen("observed-tens", told="observed", logs="tens", optimizer="nadam")
quantiles.specimen("full-batch-one-cycle", batch=0, lr=1e-2, schedule="one-cycle", logs="steps", steps=200)
quantiles.specimen("batch-of-eight", batch=8, lr=1e-3, steps=600, logs="trainer")
quantiles.specimen("float64-averaged", precision="float64", ema=0.97)
quantiles.specimen("loss-unknown-adamax", told="nothing", optimizer="adamax", lr=5e-3, logs="epochs")


class Mixture(nn.Module):
    """Negative log-likelihood of a mixture of normal distributions; below zero where the data are sharp."""

    def forward(self, told: Tensor, y: Tensor) -> Tensor:
        share, mean, log_width = told.chunk(3, 1)
        log_width = log_width.clamp(-5, 3)
        log_density = -0.5 * ((y - mean) / log_width.exp()).square() - log_width - 0.5 * math.log(2 * math.pi)
        return -torch.logsumexp(share.log_softmax(1) + log_density, 1).mean()


def mixture_likelihood(told: Tensor, y: Tensor) -> float:
    return -Mixture()(told, y).item()  # type: ignore[no-any-return]


@cache
def inverse() -> Task:
    """Which numbers could have given this one? Often three."""
    generator = torch.Generator().manual_seed(32)
    y = torch.rand(2400, 1, generator=generator)
    x = y + 0.3 * torch.sin(2 * math.pi * y) + 0.05 * torch.randn(2400, 1, generator=generator)
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    return split(x, y, 400, criterion=Mixture, score=mixture_likelihood, good=-0.2)


mixture = Family("mixture-density", lambda: mlp(1, 48, 48, 15, activation=nn.Tanh), inverse,
                 Recipe(lr=2e-3, steps=350, batch=128))  # fmt: skip
mixture.specimen("adam")
mixture.specimen("silu-clipped", lambda: mlp(1, 48, 48, 15, activation=nn.SiLU), clip=1.0, optimizer="adamw")
mixture.specimen("cosine-observed", schedule="cosine", lr=1e-2, told="observed")
mixture.specimen("loss-unknown-tens", told="nothing", logs="tens")
mixture.specimen("rmsprop-trainer", optimizer="rmsprop", lr=2e-3, logs="trainer", schedule="linear to zero")
mixture.specimen("three-components-full-batch", lambda: mlp(1, 64, 9, activation=nn.Tanh), batch=0, lr=1e-2)
mixture.specimen(
    "layer-norm-float64", lambda: mlp(1, 48, 48, 15, norm=nn.LayerNorm), precision="float64", schedule="cosine"
)


class Counting(nn.PoissonNLLLoss):
    """Of logarithms of rates; without the constant that depends on the counts alone."""


def deviance_explained(told: Tensor, y: Tensor) -> float:
    def deviance(rate: Tensor) -> Tensor:
        return (torch.xlogy(y, y / rate) - (y - rate)).mean()

    return 1 - (deviance(told.exp()) / deviance(y.mean().expand_as(y))).item()


@cache
def visits() -> Task:
    """Counts of which most are small and some are in the tens."""
    generator = torch.Generator().manual_seed(33)
    x = torch.randn(2400, 6, generator=generator)
    rate = (0.5 + 0.6 * x[:, :1] + 0.4 * x[:, 1:2] * x[:, 2:3].clamp(-1, 1)).exp()
    return split(x, torch.poisson(rate, generator=generator), 400, criterion=Counting, score=deviance_explained,
                 good=0.3)  # fmt: skip


counts = Family("counts", lambda: mlp(6, 32, 1), visits, Recipe(lr=3e-3, steps=250))
counts.specimen("adam")
counts.specimen("linear-sgd", lambda: mlp(6, 1), optimizer="sgd", lr=0.05, logs="steps")
counts.specimen("momentum-clipped", optimizer="momentum", lr=0.01, clip=1.0)
counts.specimen("observed-exponential", told="observed", schedule="exponential", lr=1e-2)
counts.specimen("radam-epochs", optimizer="radam", lr=5e-3, logs="epochs")
counts.specimen("elu-loss-unknown", lambda: mlp(6, 32, 32, 1, activation=nn.ELU), told="nothing")
counts.specimen("warm-up-batch-of-sixteen", batch=16, schedule="warm-up from zero", lr=2e-3, steps=400)


class Listwise(nn.Module):
    """Cross-entropy between the shares that relevance and score give to each document of a query."""

    def forward(self, score: Tensor, relevance: Tensor) -> Tensor:
        return F.cross_entropy(score, relevance.softmax(1))


class Pairwise(nn.Module):
    """Logistic loss of the difference in score of each ordered pair."""

    def forward(self, score: Tensor, relevance: Tensor) -> Tensor:
        ahead = relevance[:, :, None] > relevance[:, None, :]
        return F.softplus(score[:, None, :] - score[:, :, None])[ahead].mean()


def concordant(score: Tensor, relevance: Tensor) -> float:
    ahead = relevance[:, :, None] > relevance[:, None, :]
    return (score[:, :, None] > score[:, None, :])[ahead].float().mean().item()


@cache
def queries(pairwise: bool = False) -> Task:
    """Eight documents a query, of six features each, and how relevant they are."""
    generator = torch.Generator().manual_seed(34)
    x = torch.randn(1500, 8, 6, generator=generator)
    relevance = 2 * torch.tanh(x[..., 0]) + x[..., 1] * (x[..., 2] > 0)
    relevance = relevance + 0.4 * torch.randn(1500, 8, generator=generator)
    return split(x, relevance, 300, criterion=Pairwise if pairwise else Listwise, score=concordant, good=0.8)


class Scorer(nn.Module):
    def __init__(self, *widths: int, norm: type[nn.Module] | None = None) -> None:
        super().__init__()
        self.net = mlp(6, *widths, 1, norm=norm)

    def forward(self, documents: Tensor) -> Tensor:
        return self.net(documents).squeeze(-1)  # type: ignore[no-any-return]


ranking = Family("ranking", lambda: Scorer(32, 32), queries, Recipe(lr=3e-3, steps=220, batch=32))
ranking.specimen("listwise")
ranking.specimen("pairwise", task=lambda: queries(True))
ranking.specimen("pairwise-sgd", task=lambda: queries(True), optimizer="sgd", lr=0.3, logs="epochs")
ranking.specimen("listwise-layer-norm-observed", lambda: Scorer(32, 32, norm=nn.LayerNorm), told="observed")
ranking.specimen("listwise-adagrad", optimizer="adagrad", lr=0.05, logs="trainer")
ranking.specimen("pairwise-cyclic", task=lambda: queries(True), schedule="cyclic", lr=5e-3)
ranking.specimen("listwise-accumulated", accumulate=4, batch=8, told="nothing", logs="tens")
