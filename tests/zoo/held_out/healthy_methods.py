"""Healthy: ways of training that tempt to an alarm: frozen bodies, mixed labels, dropout, noise and odd batches."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.held_out.bodies import ConvNet, dense
from tests.zoo.held_out.habits import CAMEL, KERAS, STEPS, TRAINER, taught
from tests.zoo.held_out.household import Family
from tests.zoo.held_out.readers import Transformer
from tests.zoo.held_out.shelf import (
    Batch,
    Data,
    accuracy,
    cancer,
    cut,
    diabetes,
    digit_images,
    digits,
    gratings,
    order,
    spirals,
    table,
    waves,
    wine,
)  # fmt: skip


def of_digits(wanted: range) -> Data:
    """Images of some of the digits, renumbered."""
    data = digit_images()
    train = (data.y >= wanted.start) & (data.y < wanted.stop)
    aside = (data.vy >= wanted.start) & (data.vy < wanted.stop)
    y, vy = data.y[train] - wanted.start, data.vy[aside] - wanted.start
    return data.change(x=data.x[train], y=y, vx=data.vx[aside], vy=vy)


def transferred(freeze: bool) -> nn.Module:
    """A body that knows the first five digits, and a new head for the others."""
    model = taught(ConvNet(5, 12, 24), of_digits(range(5)))
    model.head = nn.Linear(96, 5)
    if freeze:
        for p in model.features.parameters():
            p.requires_grad_(False)
    return model


def slower_body(model: nn.Module, lr: float) -> list[dict[str, Any]]:
    return [{"params": model.features.parameters(), "lr": lr / 20}, {"params": model.head.parameters()}]


others = partial(of_digits, range(5, 10))
tuned = Family("fine-tuned-digits", partial(transferred, True), others, good=0.8, lr=5e-3, epochs=8)
tuned.run("frozen-body", optimizer="momentum", lr=0.02)
tuned.run("slower-body", partial(transferred, False), groups=slower_body, tags=STEPS, good=0.9)
tuned.run("whole-at-a-small-rate", partial(transferred, False), lr=1.5e-3, schedule="warm-up", tags=TRAINER)


class Adapted(nn.Module):
    """A frozen layer with a low-rank change that begins at nothing (Hu et al., 2022)."""

    def __init__(self, layer: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + x @ self.down.T @ self.up.T


def turned() -> Data:
    """The digits with left and right exchanged."""
    data = digits()
    x, vx = (rows.unflatten(1, (8, 8)).flip(2).flatten(1) for rows in (data.x, data.vx))
    return data.change(x=x, vx=vx)


def adapted(rank: int = 4) -> nn.Module:
    model = taught(dense(64, 64, 64, 10), digits())
    for place in (0, 2, 4):
        model[place] = Adapted(model[place], rank)
    return model


lora = Family("low-rank-adapters", adapted, turned, good=0.8, lr=5e-3, epochs=10)
lora.run("rank-four")
lora.run("rank-eight-cosine", partial(adapted, 8), schedule="cosine", optimizer="adamw", tags=STEPS)
lora.run("scalars-of-trainer", lr=1e-2, tags=TRAINER, told="nothing")


class Soft(nn.Module):
    """Cross-entropy to shares of classes, or to classes in validation."""

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits, y)


def mixed(x: Tensor, y: Tensor) -> Batch:
    """Pairs of rows blended, and their labels (Zhang et al., 2018)."""
    share = torch.distributions.Beta(0.4, 0.4).sample((len(x), *[1] * (x.dim() - 1)))
    other = torch.randperm(len(x))
    told = F.one_hot(y, 10).float()
    kept = share.flatten(1)
    return share * x + (1 - share) * x[other], kept * told + (1 - kept) * told[other]


blended = Family("mixed-rows", lambda: ConvNet(10, 12, 24), digit_images, good=0.9, lr=3e-3, epochs=7, prepare=mixed,
                 criterion=Soft)  # fmt: skip
blended.run("filters")
blended.run("filters-cosine", optimizer="adamw", schedule="cosine", tags=STEPS)
blended.run("dense", lambda: dense(64, 96, 10), digits, tags=KERAS)

dropping = Family("half-the-units-dropped", lambda: dense(64, 256, 256, 10, drop=0.5), digits, good=0.93, epochs=14)
dropping.run("adam")
dropping.run("momentum", optimizer="momentum", lr=0.05, tags=STEPS)
dropping.run("filters", lambda: ConvNet(6, 16, 24, drop=0.5), gratings, good=0.8, epochs=8, lr=3e-3, tags=TRAINER)

decaying = Family("decay-that-helps", lambda: dense(10, 64, 1), diabetes, good=0.36, epochs=25, batch=20, lr=2e-3)
decaying.run("ridge", weight_decay=0.03, tags=STEPS)
decaying.run("decoupled", optimizer="adamw", weight_decay=0.3)
decaying.run("norm-and-decay", lambda: ConvNet(10, 12, 24), digit_images, optimizer="momentum", lr=0.05,
             weight_decay=5e-3, good=0.9, batch=32, epochs=6, tags=TRAINER)  # fmt: skip


def unsure() -> Data:
    """One label in six is wrong, in training alone."""
    data = digits()
    g = torch.Generator().manual_seed(21)
    wrong = torch.rand(len(data.y), generator=g) < 0.16
    return data.change(y=torch.where(wrong, torch.randint(10, (len(data.y),), generator=g), data.y))


noisy = Family(
    "some-labels-wrong-and-stopped-early", lambda: dense(64, 48, 10), unsure, good=0.88, epochs=20, patience=2
)
noisy.run("adam")
noisy.run("smoothed", criterion=partial(nn.CrossEntropyLoss, label_smoothing=0.1), tags=STEPS)
noisy.run("decay", optimizer="adamw", weight_decay=0.3, tags=TRAINER)

few = Family("two-or-four-rows-a-batch", lambda: dense(30, 24, 1), cancer, good=0.92, lr=5e-4, epochs=4, batch=4)
few.run("adam", tags=STEPS)
few.run("two-by-descent", optimizer="sgd", lr=5e-3, batch=2, tags=STEPS)
few.run("four-digits", lambda: dense(64, 48, 10), digits, good=0.88, lr=4e-4, epochs=3, tags=TRAINER)

many = Family("hundreds-of-rows-a-batch", lambda: dense(64, 96, 10), digits, good=0.92, lr=1e-2, epochs=35, batch=400)
many.run("adam", tags=STEPS)
many.run("momentum-warm-up", optimizer="momentum", lr=0.2, schedule="warm-up", tags=TRAINER)
many.run("whole-table-of-waves", lambda: dense(8, 64, 1), waves, good=0.65, batch=0, epochs=200)

brief = Family("over-in-a-minute", lambda: dense(64, 128, 10), digits, good=0.9, lr=1e-2, epochs=1, batch=32)
brief.run("one-epoch", tags=STEPS)
brief.run("one-epoch-one-cycle", schedule="one-cycle", lr=2e-2, tags=STEPS)
brief.run("wine", lambda: dense(13, 32, 3), wine, batch=8, epochs=2, tags=TRAINER)

lengthy = Family("trained-for-long", lambda: dense(64, 48, 10, drop=0.2), digits, good=0.94, lr=5e-4, epochs=45)
lengthy.run("digits-decay", optimizer="adamw", weight_decay=0.1, schedule="decay")
lengthy.run("digits-momentum", optimizer="momentum", lr=5e-3, schedule="stairs", tags=STEPS)
lengthy.run("spirals", lambda: dense(2, 64, 64, 3, act=nn.SiLU), spirals, lr=3e-3, good=0.9, tags=KERAS)

summed = Family(
    "gradients-of-several-batches", lambda: dense(64, 64, 10), digits, good=0.92, batch=8, accumulate=4, lr=2e-3
)
summed.run("adam", tags=STEPS)
summed.run("momentum-clipped", optimizer="momentum", lr=0.05, clip=1.0, tags=TRAINER)
summed.run("waves", lambda: dense(8, 48, 1), waves, good=0.7, lr=5e-3, tags=CAMEL)


class Averaged(nn.Module):
    """Answers of the running average of the weights in evaluation."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.shadow = model, copy.deepcopy(model).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.shadow(x)
        with torch.no_grad():
            for old, new in zip(self.shadow.parameters(), self.model.parameters(), strict=True):
                old.lerp_(new, 0.03)
        return self.model(x)


means = Family("average-of-the-weights", lambda: Averaged(dense(64, 64, 10)), digits, good=0.92, epochs=12)
means.run("adam")
means.run("momentum", optimizer="momentum", lr=0.05, tags=STEPS)
means.run("transformer", lambda: Averaged(Transformer(2, 10, depth=1)), order, good=0.9, epochs=12, tags=TRAINER)


def raw_wine() -> Data:
    x, y = table("wine")
    return cut(x, y.long(), 58, score=accuracy)


class Scaling(nn.Module):
    """Normalizes what comes in raw, as its first layer does."""

    def __init__(self, model: nn.Module, features: int) -> None:
        super().__init__()
        self.scale, self.model = nn.BatchNorm1d(features), model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(self.scale(x))


scaling = Family("scaled-by-its-first-layer", lambda: Scaling(dense(13, 24, 3), 13), raw_wine, good=0.9, batch=12,
                 epochs=15, lr=5e-3, told="nothing")  # fmt: skip
scaling.run("wine")
scaling.run("wine-momentum", optimizer="momentum", lr=0.02, tags=STEPS)
scaling.run("wine-tanh", lambda: Scaling(dense(13, 24, 3, act=nn.Tanh), 13), tags=TRAINER)
