"""Healthy: several labels, quantiles, weighted and softened targets."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.held_out.bodies import dense
from tests.zoo.held_out.habits import STEPS, TRAINER, taught
from tests.zoo.held_out.household import Family
from tests.zoo.held_out.shelf import (
    Data,
    cancer,
    diabetes,
    digits,
    r_squared,
    waves,
)  # fmt: skip


def tags_of_rows() -> Data:
    """Six labels each: which of the quarters of a digit hold ink, and whether it is even or large."""
    data = digits()

    def told(x: Tensor, y: Tensor) -> Tensor:
        image = x.unflatten(1, (8, 8))
        quarters = [image[:, a : a + 4, b : b + 4].mean((1, 2)) for a in (0, 4) for b in (0, 4)]
        quarters = [quarter > -0.4 for quarter in quarters]
        return torch.stack([*quarters, y % 2 == 0, y > 6], 1).float()

    right = lambda outputs, y: ((outputs > 0) == (y > 0.5)).float().mean().item()
    y, vy = told(data.x, data.y), told(data.vx, data.vy)
    return data.change(y=y, vy=vy, criterion=nn.BCEWithLogitsLoss, score=right)


several = Family("several-labels-each", lambda: dense(64, 64, 6), tags_of_rows, good=0.9)
several.run("adam")
several.run("adamw-cosine", optimizer="adamw", schedule="cosine", tags=STEPS)
several.run("observed", told="observed", tags=TRAINER)


class Pinball(nn.Module):
    """Three quantiles of one target."""

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        shares = torch.tensor([0.1, 0.5, 0.9])
        miss = y - outputs
        return torch.maximum(shares * miss, (shares - 1) * miss).mean()


def median(data: Data) -> Data:
    return data.change(criterion=Pinball, score=lambda outputs, y: r_squared(outputs[:, 1:2], y))


quantiles = Family(
    "three-quantiles", lambda: dense(8, 48, 48, 3), lambda: median(waves()), good=0.75, lr=5e-3, epochs=12
)
quantiles.run("waves")
quantiles.run("waves-cosine", schedule="cosine", tags=STEPS)
quantiles.run(
    "sugar", lambda: dense(10, 16, 3), lambda: median(diabetes()), good=0.3, epochs=25, batch=20, tags=TRAINER
)


class Focal(nn.Module):
    """Cross-entropy that cares less for what is told already (Lin et al., 2017)."""

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
        return (loss * (1 - (-loss).exp()).square()).mean()


weighted = Family("rare-class-weighted", lambda: dense(30, 16, 1), cancer, good=0.93, lr=3e-3, epochs=12, batch=16)
weighted.run("focal", criterion=Focal)
weighted.run("positive-weight", criterion=partial(nn.BCEWithLogitsLoss, pos_weight=torch.tensor(0.6)), tags=STEPS)
weighted.run("positive-weight-tanh", lambda: dense(30, 16, 1, act=nn.Tanh), optimizer="momentum", lr=0.02,
             criterion=partial(nn.BCEWithLogitsLoss, pos_weight=torch.tensor(0.6)), tags=TRAINER)  # fmt: skip


class Taught(nn.Module):
    """What a teacher tells at a temperature of two, and the labels; labels alone in validation."""

    def __init__(self) -> None:
        super().__init__()
        self.told = nn.CrossEntropyLoss()

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        if y.dim() == 1:
            return self.told(logits, y)
        return F.kl_div((logits / 2).log_softmax(1), (y / 2).softmax(1), reduction="batchmean") * 4


def lessons() -> Data:
    torch.manual_seed(31)
    data, teacher = digits(), taught(dense(64, 128, 10), digits(), 8)
    with torch.no_grad():
        return data.change(y=teacher(data.x))


pupils = Family("pupil-of-a-teacher", lambda: dense(64, 24, 10), lessons, good=0.9, criterion=Taught)
pupils.run("adam", lr=5e-3)
pupils.run("momentum", optimizer="momentum", lr=0.01, tags=STEPS)
pupils.run("adamw-decay", optimizer="adamw", schedule="decay", lr=5e-3, tags=TRAINER)
