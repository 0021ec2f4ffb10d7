"""Healthy on tables: few rows, skewed prices, censored times, rare events, weights that are good already."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.builders import material
from tests.zoo.builders.adapted import pretrained
from tests.zoo.builders.family import Family
from tests.zoo.builders.feedforward import mlp, small_head, xavier
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import Task, accuracy, binary_accuracy, explained, tumours, vectors
from tests.zoo.builders.tasks import split as split_task
from tests.zoo.faulty.problems import Problem


def as_task(data: Problem, good: float) -> Task:
    """Of a problem of classes, of yes and no, or of numbers."""
    criterion = type(data.criterion)
    scores = {nn.CrossEntropyLoss: accuracy, nn.BCEWithLogitsLoss: binary_accuracy}
    return Task(data.train_x, data.train_y, data.val_x, data.val_y, criterion, scores.get(criterion, explained), good)


@cache
def wine() -> Task:
    return as_task(material.wine(), 0.94)


small = Family("wine", lambda: mlp(13, 16, 3), wine, Recipe("adamw", 5e-3, steps=120, batch=16))
small.specimen("adamw")
small.specimen("linear-sgd", lambda: mlp(13, 3), optimizer="sgd", lr=0.1, logs="epochs", steps=200)
small.specimen("quasi-newton", optimizer="lbfgs", lr=0.5, batch=0, steps=25, weight_decay=0.0)
small.specimen("signs-alone", optimizer="rprop", lr=1e-3, batch=0, steps=36, weight_decay=0.0)
small.specimen("whole-table-tanh", lambda: mlp(13, 24, 3, activation=nn.Tanh), batch=0, lr=1e-2, logs="tens")
small.specimen("two-at-a-time", batch=2, optimizer="sgd", lr=0.01, steps=500, logs="trainer")
small.specimen("normalized-smoothed", lambda: mlp(13, 32, 3, norm=nn.BatchNorm1d), label_smoothing=0.1)


@cache
def priced() -> Task:
    return as_task(material.prices(), 0.75)


class Huber(nn.HuberLoss):
    """With its usual delta of 1."""


@cache
def skewed() -> Task:
    """The price itself, skewed, over its standard deviation, and not centred."""
    x, y = material.houses()
    return split_task(material.standard(x), y / y.std(), 400, criterion=Huber, score=explained, good=0.6)


houses = Family("houses", lambda: mlp(7, 48, 48, 1), priced, Recipe(lr=3e-3, steps=300))
houses.specimen("adam")
houses.specimen("skewed-huber", task=skewed, schedule="cosine")
houses.specimen("adagrad", optimizer="adagrad", lr=0.03)
houses.specimen("adadelta-as-in-the-paper", optimizer="adadelta", lr=1.0, logs="tens")
houses.specimen("rmsprop-triangles", optimizer="rmsprop", lr=2e-3, schedule="cyclic", logs="trainer")
houses.specimen("bfloat16-clipped", precision="bfloat16", clip=1.0, told="observed")
houses.specimen("one-house-at-a-time", batch=1, optimizer="sgd", lr=2e-3, steps=1500, logs="tens")


class PartialLikelihood(nn.Module):
    """Cox's: who of those still there leaves first? Targets are time and whether it was seen, (n, 2)."""

    def forward(self, risk: Tensor, y: Tensor) -> Tensor:
        order = y[:, 0].argsort(descending=True)
        risk, seen = risk[order, 0], y[order, 1]
        return ((torch.logcumsumexp(risk, 0) - risk) * seen).sum() / seen.sum()


def concordance(risk: Tensor, y: Tensor) -> float:
    earlier = (y[:, None, 0] < y[None, :, 0]) & (y[:, None, 1] > 0)
    return (risk > risk.T)[earlier].float().mean().item()


@cache
def survivors() -> Task:
    g = torch.Generator().manual_seed(61)
    x = torch.randn(1500, 8, generator=g)
    hazard = (x[:, 0] + 0.7 * x[:, 1] * x[:, 2] - 0.5 * x[:, 3].square()).exp()
    time = -torch.rand(1500, generator=g).log() / hazard
    end = 3 * torch.rand(1500, generator=g)
    y = torch.stack([torch.minimum(time, end), (time < end).float()], 1)
    return split_task(x, y, 300, criterion=PartialLikelihood, score=concordance, good=0.7)


survival = Family("survival", lambda: mlp(8, 32, 1), survivors, Recipe(lr=3e-3, steps=200, batch=128))
survival.specimen("adam")
survival.specimen("linear", lambda: mlp(8, 1), optimizer="sgd", lr=0.1, good=0.62, logs="steps")
survival.specimen("whole-cohort-cosine", batch=0, lr=1e-2, schedule="cosine", steps=120)
survival.specimen("selu-dropout", lambda: mlp(8, 48, 48, 1, activation=nn.SELU, dropout=0.1), logs="epochs")
survival.specimen("small-batches-observed", batch=16, lr=1e-3, steps=400, told="observed")


class Tree(nn.Module):
    """A soft decision tree: steep sigmoids are its questions, a leaf's answers are weighted by its paths."""

    def __init__(self, features: int, classes: int, depth: int = 4, steepness: float = 4.0) -> None:
        super().__init__()
        self.questions = nn.Linear(features, 2**depth - 1)
        self.leaves = nn.Parameter(0.1 * torch.randn(2**depth, classes))
        self.depth, self.steepness = depth, steepness

    def forward(self, x: Tensor) -> Tensor:
        right = torch.sigmoid(self.steepness * self.questions(x))
        share, first = x.new_ones(len(x), 1), 0
        for level in range(self.depth):
            turn = right[:, first : first + 2**level]
            share = torch.stack([share * (1 - turn), share * turn], 2).flatten(1)
            first += 2**level
        return share @ self.leaves


trees = Family("soft-trees", lambda: Tree(64, 10), vectors, Recipe(lr=2e-2, steps=300))
trees.specimen("depth-six-steep", lambda: Tree(64, 10, 6, 8.0), good=0.85)
trees.specimen("tumours", lambda: Tree(30, 2, 3), task=tumours, steps=150, batch=32)
trees.specimen("wine-nadam", lambda: Tree(13, 3, 3), task=wine, optimizer="nadam", steps=150, batch=16, logs="tens")


class RandomFeatures(nn.Module):
    """Cosines of fixed random projections, buffers by design, under a linear layer (Rahimi and Recht, 2007)."""

    def __init__(self, features: int, outputs: int, width: int = 400, scale: float = 0.3) -> None:
        super().__init__()
        self.register_buffer("directions", scale * torch.randn(features, width))
        self.register_buffer("phases", 2 * math.pi * torch.rand(width))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cos(x @ self.directions + self.phases))


fixed = Family("random-features", lambda: RandomFeatures(7, 1), priced, Recipe("sgd", 3e-3, steps=300))
fixed.specimen("houses", good=0.6)
fixed.specimen(
    "digits-momentum", lambda: RandomFeatures(64, 10, scale=0.1), task=vectors, optimizer="momentum", lr=0.02, good=0.88
)
fixed.specimen("houses-quasi-newton", optimizer="lbfgs", lr=1.0, batch=0, steps=20, good=0.7)
fixed.specimen("wine-adam", lambda: RandomFeatures(13, 3, 200, 0.2), task=wine, optimizer="adam", lr=3e-3, batch=16)


class Focal(nn.Module):
    """Cross-entropy that cares less for what is told already (Lin et al., 2017)."""

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
        return ((1 - (-loss).exp()) ** 2 * loss).mean() * 4


class Weighted(nn.BCEWithLogitsLoss):
    """Failures count fivefold."""

    def __init__(self) -> None:
        super().__init__(pos_weight=torch.tensor(5.0))


def balanced(logits: Tensor, y: Tensor) -> float:
    """Mean of the recalls of both answers."""
    told, there = logits > 0, y > 0.5
    return (told[there].float().mean() + (~told)[~there].float().mean()).item() / 2


@cache
def failures(criterion: type[nn.Module] = Focal) -> Task:
    """One row in six is a failure."""
    data = material.friedman()
    x, y = torch.cat([data.train_x, data.val_x]), torch.cat([data.train_y, data.val_y])
    return split_task(x, (y > 0.97).float(), 300, criterion=criterion, score=balanced, good=0.75)


rare = Family("failures", lambda: mlp(10, 48, 1), failures, Recipe(lr=3e-3, steps=300))
rare.specimen("focal")
rare.specimen("weighted", task=lambda: failures(Weighted), schedule="linear to zero")
rare.specimen("weighted-momentum-tens", task=lambda: failures(Weighted), optimizer="momentum", lr=0.02, logs="tens")
rare.specimen("focal-prior-in-the-bias", lambda: prior(mlp(10, 48, 1)), optimizer="adamw")


def prior(model: nn.Sequential) -> nn.Sequential:
    """Starts with the share of failures."""
    nn.init.constant_(model[-1].bias, -1.6)
    return small_head(model)


ready = Family("trained-already", lambda: pretrained(mlp(64, 64, 10), vectors(), steps=300), vectors,
               Recipe("sgd", 0.01, steps=150))  # fmt: skip
ready.specimen("sgd")
ready.specimen("warm-restarts", optimizer="momentum", schedule="restarts", lr=0.02)
ready.specimen("adam-averaged", optimizer="adam", lr=1e-4, ema=0.98, logs="trainer")
ready.specimen("wine", lambda: pretrained(xavier(mlp(13, 16, 3, activation=nn.Tanh)), wine(), steps=150), task=wine,
               batch=16, lr=0.02)  # fmt: skip

many = Family("large-batches", lambda: mlp(64, 96, 10), vectors, Recipe("momentum", 0.2, steps=120, batch=512,
              schedule="warm-up and cosine"))  # fmt: skip
many.specimen("scaled-rate")
many.specimen("adamw", optimizer="adamw", lr=5e-3, logs="tens")
many.specimen("accumulated", batch=128, accumulate=4, logs="steps")
many.specimen("houses-whole", lambda: mlp(7, 48, 48, 1), task=priced, optimizer="adam", lr=1e-2, batch=0, good=0.75)

short = Family("short-runs", lambda: mlp(64, 128, 10, norm=nn.BatchNorm1d), vectors,
               Recipe("adam", 5e-3, steps=45, schedule="one-cycle"))  # fmt: skip
short.specimen("one-cycle", good=0.9)
short.specimen("linear-to-zero", schedule="linear to zero", good=0.9, logs="steps")
short.specimen("logistic", lambda: mlp(30, 2), task=tumours, schedule="linear to zero", lr=3e-2, good=0.9, logs="tens")
